"""What a run has where nothing is said; apart, so that naming it loads nothing."""

from __future__ import annotations

DEFAULT_STRATEGY = "clip-lora"
DEFAULT_BACKBONE = "ViT-B16"
