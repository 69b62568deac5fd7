"""Prediction with a merged classifier against bare transformers."""

from __future__ import annotations

from functools import partial

from benchmarks.harness import Contender, Settings, race
from benchmarks.result import Row
from benchmarks.tables import Cases

TITLE = "Prediction after merge (ViT-B/16, 100 classes, batch 8, ready pixels)"


def cases(settings: Settings) -> Cases:
    """Return the one comparison."""
    return {"clip-lora": partial(_rows, settings)}


def _rows(settings: Settings) -> list[Row]:
    size, classes, batch = ("tiny", 4, 2) if settings.quick else ("ViT-B16", 100, 8)
    shared = {"size": size, "classes": classes, "batch": batch, "precision": settings.precision}
    contenders = [
        Contender("FewTune", "benchmarks.ours:prediction", {"strategy": "clip-lora", **shared}),
        Contender("transformers", "benchmarks.peers:bare_prediction", shared),
    ]
    ours, theirs = (batch / m.median_s for m in race(contenders, settings))
    return [
        Row(
            "prediction, CLIP-LoRA merged", "bare transformers", ours, theirs, "images/s",
            ours / theirs, 0.95, "at least", settings.repeats,
        )
    ]  # fmt: skip
