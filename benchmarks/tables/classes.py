"""Time and memory of a CLIP-LoRA step as the number of classes grows."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.harness import Contender, Settings, race
from benchmarks.result import Row
from benchmarks.tables import Cases

TITLE = "CLIP-LoRA with many classes (ViT-B/16, batch 8)"
LIMIT_GIB = 12  # for data, of each process
BUDGET_MIB = 2560  # of FewTune, as --memory 2.5GiB
PROBES = (50, 100)  # class counts whose memory gives the slope
MARGIN = 0.95  # of the limit: what is not tensors
REPEATS = 1  # a step of A takes a minute here


def cases(settings: Settings) -> Cases:
    """Return the largest count where A fits, with and without dropout, and two that are fixed."""
    return {
        "without dropout": partial(_largest, 0.0, 8.0, settings),
        "with dropout": partial(_largest, 0.25, 5.0, settings),
        "1,000 and 10,000 classes": partial(_many, settings),
    }


def _largest(dropout: float, bar: float, settings: Settings) -> list[Row]:
    classes = 6 if settings.quick else largest(dropout, settings)
    few = Settings(settings.quick, settings.precision, settings.threads, REPEATS, 0)
    while True:
        contenders = [_ours(classes, dropout, settings), _peft(classes, dropout, settings)]
        try:
            ours, peer = race(contenders, few, limit_mib=LIMIT_GIB << 10)
            break
        except MemoryError:  # the limit is on what is reserved, the prediction is of what is used
            classes = int(0.9 * classes // 10 * 10)
    what = f"{classes} classes, dropout {dropout:g}"
    note = f"the most where A fits into {LIMIT_GIB} GiB; no warm-up"
    memory = (ours.memory_mib / 1024, peer.memory_mib / 1024)
    return [
        Row(
            what, "A: PEFT, 77 tokens", ours.median_s, peer.median_s, "s",
            peer.median_s / ours.median_s, bar, "at least", REPEATS, note,
        ),
        Row(
            what, "A: PEFT, 77 tokens", *memory, "GiB",
            memory[1] / memory[0] if memory[0] else 1.0, 6.0, "at least", REPEATS, note,
        ),
    ]  # fmt: skip


def largest(dropout: float, settings: Settings) -> int:
    """Return the largest number of classes where A fits, from its memory at two small ones."""
    once = Settings(False, settings.precision, settings.threads, 1, 0)
    low, high = (race([_peft(count, dropout, settings)], once)[0].memory_mib for count in PROBES)
    slope = (high - low) / (PROBES[1] - PROBES[0])
    fits = PROBES[0] + (LIMIT_GIB * 1024 * MARGIN - low) / slope
    return int(fits // 10 * 10)


def _many(settings: Settings) -> list[Row]:
    once = Settings(settings.quick, settings.precision, settings.threads, 1, 0)
    few, many = (6, 12) if settings.quick else (1000, 10_000)
    (small,), (large,) = (race([_ours(count, 0.25, settings)], once) for count in (few, many))
    note = "one step, without warm-up: {:.0f} s"
    gib = (small.memory_mib / 1024, large.memory_mib / 1024)
    return [
        Row(
            f"{few:,} classes, dropout 0.25", "the aim alone", gib[0], None, "GiB", None,
            4.0, "at most", 1, note.format(small.median_s),
        ),
        Row(
            f"{many:,} classes, dropout 0.25", f"{few:,} classes", gib[1], gib[0], "GiB",
            gib[1] / gib[0] if gib[0] else 1.0, 1.5, "at most", 1, note.format(large.median_s),
        ),
    ]  # fmt: skip


def _shared(classes: int, settings: Settings) -> dict[str, Any]:
    size, batch = ("tiny", 2) if settings.quick else ("ViT-B16", 8)
    return {"size": size, "classes": classes, "batch": batch, "precision": settings.precision}


def _ours(classes: int, dropout: float, settings: Settings) -> Contender:
    arguments = {
        "strategy": "clip-lora",
        "options": {"dropout": dropout},
        "memory_mib": 0 if settings.quick else BUDGET_MIB,
        **_shared(classes, settings),
    }
    return Contender("FewTune", "benchmarks.ours:step", arguments)


def _peft(classes: int, dropout: float, settings: Settings) -> Contender:
    arguments = {"dropout": dropout, "length": 77, **_shared(classes, settings)}
    return Contender("A", "benchmarks.peers:lora_with_peft", arguments)
