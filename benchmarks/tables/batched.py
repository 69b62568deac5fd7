"""Seeds and rates of feature-level strategies, trained at once against one by one."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.harness import Contender, Settings, race
from benchmarks.result import Row
from benchmarks.tables import Cases

TITLE = "Five seeds x four rates at once (ViT-B/32, 100 classes, 16 shots, training loop only)"
STEPS = 200


def cases(settings: Settings) -> Cases:
    """Return the strategies that work on finished features."""
    return {name: partial(_rows, name, settings) for name in ("clip-adapter", "linear-probe")}


def _rows(strategy: str, settings: Settings) -> list[Row]:
    size, classes, shots, steps = (
        ("tiny", 4, 8, 2) if settings.quick else ("ViT-B32", 100, 16, STEPS)
    )
    shared: dict[str, Any] = {
        "strategy": strategy,
        "size": size,
        "classes": classes,
        "images": classes * shots,
        "precision": settings.precision,
        "steps": steps,
    }
    builder = "benchmarks.ours:seeds_and_rates"
    ours, theirs = race(
        [
            Contender("at once", builder, {**shared, "at_once": True}),
            Contender("one by one", builder, {**shared, "at_once": False}),
        ],
        settings,
    )
    return [
        Row(
            f"20 runs of {strategy}, {STEPS} steps each", "one by one",
            ours.median_s, theirs.median_s, "s", theirs.median_s / ours.median_s,
            5.0, "at least", settings.repeats,
        )
    ]  # fmt: skip
