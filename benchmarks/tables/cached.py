"""The training loop of feature-level strategies, cached against streaming."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.harness import Contender, Settings, race
from benchmarks.result import Row
from benchmarks.tables import Cases

TITLE = "Cached features (ViT-B/32, 100 classes, 16 shots, 50 epochs, training loop only)"
EPOCHS, STREAMED = 50, 2


def cases(settings: Settings) -> Cases:
    """Return the strategies whose cut is the finished image feature."""
    return {name: partial(_rows, name, settings) for name in ("clip-adapter", "linear-probe")}


def _rows(strategy: str, settings: Settings) -> list[Row]:
    size, classes, shots = ("tiny", 4, 2) if settings.quick else ("ViT-B32", 100, 16)
    shared: dict[str, Any] = {
        "strategy": strategy,
        "size": size,
        "classes": classes,
        "batch": 32,
        "precision": settings.precision,
        "images": classes * shots,
        "recipe": {"views": 1},
    }
    cached = Contender("cached", "benchmarks.ours:epochs", {**shared, "number": EPOCHS})
    streamed = Contender(
        "streaming", "benchmarks.ours:epochs", {**shared, "number": 1, "cache": False}
    )
    turns = Settings(settings.quick, settings.precision, settings.threads, STREAMED, 0)
    ours, theirs = race([cached, streamed], turns)
    scaled = theirs.median_s * EPOCHS
    return [
        Row(
            f"{strategy}, {EPOCHS} epochs", "the same, streaming", ours.median_s, scaled, "s",
            scaled / ours.median_s, 100.0, "at least", STREAMED,
            f"streaming: {STREAMED} epochs measured, scaled to {EPOCHS}",
        )
    ]  # fmt: skip
