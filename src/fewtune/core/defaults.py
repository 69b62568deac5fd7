"""What a run has where nothing is said; apart, so that naming it loads nothing."""

DEFAULT_STRATEGY = "clip-lora"
DEFAULT_BACKBONE = "ViT-B16"
