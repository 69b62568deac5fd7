"""A training step of CLIPFit and of VPT-deep against hooks written by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.harness import Contender, Settings, race
from benchmarks.result import Row
from benchmarks.tables import Cases

TITLE = "Steps of other strategies (ViT-B/16, 100 classes, batch 8)"
TOKENS = 8


def cases(settings: Settings) -> Cases:
    """Return both strategies."""
    vpt = {"tokens": TOKENS}
    return {
        "clipfit": partial(
            _rows, "clipfit", "clipfit_by_hand", {}, "unfrozen by hand, 77 tokens", 2.0, settings
        ),
        "vpt-deep": partial(
            _rows, "vpt-deep", "vpt_by_hand", vpt, "hooks by hand, text cached", 1.0, settings
        ),
    }


def _rows(
    strategy: str,
    peer: str,
    options: dict[str, Any],
    against: str,
    bar: float,
    settings: Settings,
) -> list[Row]:
    size, classes, batch = ("tiny", 4, 2) if settings.quick else ("ViT-B16", 100, 8)
    shared = {"size": size, "classes": classes, "batch": batch, "precision": settings.precision}
    ours, theirs = race(
        [
            Contender(
                "FewTune",
                "benchmarks.ours:step",
                {"strategy": strategy, "options": options, **shared},
            ),
            Contender(peer, f"benchmarks.peers:{peer}", {**shared, **options}),
        ],
        settings,
    )
    return [
        Row(
            f"{strategy} step", against, ours.median_s, theirs.median_s, "s",
            theirs.median_s / ours.median_s, bar, "at least", settings.repeats,
        )
    ]  # fmt: skip
