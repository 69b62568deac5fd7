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
    fewtune = Contender("FewTune", "benchmarks.ours:step", ours)
    bar_a, bar_b, bar_floor = BARS[batch]
    peers = (("A: PEFT, 77 tokens", 77, bar_a), ("B: PEFT, longest prompt", None, bar_b))
    what = f"step, batch {batch}"
    rows, medians = [], []
    for name, length, bar in peers:  # in pairs: all three together do not fit into 24 GB
        peer = Contender(
            name, "benchmarks.peers:lora_with_peft", {**shared, "dropout": 0.25, "length": length}
        )
        mine, theirs = race([fewtune, peer], settings)
        medians.append(mine.median_s)
        rows.append(_against(what, name, mine, theirs, bar, settings))
    seconds = min(medians)
    floor_s = arithmetic(**ours) / matrix_rate(settings)
    ratio = seconds / floor_s
    floor = Row(
        what, "floor", seconds, floor_s, "s", ratio, bar_floor, "at most",
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
