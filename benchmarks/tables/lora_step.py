"""A training step of CLIP-LoRA against PEFT's, the authors', and the machine's arithmetic."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.floor import matrix_rate
from benchmarks.harness import Contender, Measurement, Settings, race
from benchmarks.ours import arithmetic
from benchmarks.result import Row
from benchmarks.tables import Cases

TITLE = "A training step of CLIP-LoRA (ViT-B/16, 100 classes, dropout 0.25)"
BARS = {8: (4.0, 1.8, 4.0), 32: (2.5, 1.4, 3.5)}


def cases(settings: Settings) -> Cases:
    """Return the two batch sizes, and the authors' loop, which is as slow as A."""
    return {
        **{f"batch {batch}": partial(_rows, batch, settings) for batch in BARS},
        "authors": partial(_authors, settings),
    }


def _rows(batch: int, settings: Settings) -> list[Row]:
    size, classes, images = ("tiny", 4, 2) if settings.quick else ("ViT-B16", 100, batch)
    shared = {"size": size, "classes": classes, "batch": images, "precision": settings.precision}
    ours: dict[str, Any] = {"strategy": "clip-lora", **shared}
    lora = {**shared, "dropout": 0.25}
    contenders = [
        Contender("FewTune", "benchmarks.ours:step", ours),
        Contender("A", "benchmarks.peers:lora_with_peft", {**lora, "length": 77}),
        Contender("B", "benchmarks.peers:lora_with_peft", {**lora, "length": None}),
    ]
    measured = race(contenders, settings)
    bar_a, bar_b, bar_floor = BARS[batch]
    names = ("A: PEFT, 77 tokens", "B: PEFT, longest prompt")
    what = f"step, batch {batch}"
    rows = [
        _against(what, name, measured[0], peer, bar, settings)
        for name, peer, bar in zip(names, measured[1:], (bar_a, bar_b), strict=True)
    ]
    floor_s = arithmetic(**ours) / matrix_rate(settings)
    ratio = measured[0].median_s / floor_s
    floor = Row(
        what, "floor", measured[0].median_s, floor_s, "s", ratio, bar_floor, "at most",
        settings.repeats, "the other way round: FewTune over the floor",
    )  # fmt: skip
    return [*rows, floor]


def _authors(settings: Settings) -> list[Row]:
    size, classes, batch = ("tiny", 4, 2) if settings.quick else ("ViT-B16", 100, 8)
    shared = {"size": size, "classes": classes, "batch": batch, "precision": settings.precision}
    ours, theirs = race(
        [
            Contender("FewTune", "benchmarks.ours:step", {"strategy": "clip-lora", **shared}),
            Contender("C", "benchmarks.peers:lora_of_the_authors", {**shared, "dropout": 0.25}),
        ],
        settings,
    )
    return [_against("step, batch 8", "C: the authors' loop", ours, theirs, None, settings)]


def _against(
    what: str,
    name: str,
    ours: Measurement,
    peer: Measurement,
    bar: float | None,
    settings: Settings,
) -> Row:
    note = ""
    if peer.memory_mib:
        note = f"memory {ours.memory_mib / 1024:.2f} against {peer.memory_mib / 1024:.2f} GiB"
    ratio = peer.median_s / ours.median_s
    return Row(
        what, name, ours.median_s, peer.median_s, "s", ratio, bar, "at least",
        settings.repeats, note,
    )  # fmt: skip
