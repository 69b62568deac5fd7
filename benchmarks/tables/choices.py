"""What a step takes with one choice made otherwise: compiled, other attention, other optimizer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, get_args

import torch

from benchmarks.harness import Contender, Settings, race
from benchmarks.result import Row
from benchmarks.tables import Cases
from benchmarks.variants import Optimizer
from fewtune.core.spec import Plan, Precision
from fewtune.training.device import choose_attention

TITLE = "Choices within a step: FewTune as it is against one choice made otherwise"
TURNS = 3  # of whole steps of CLIP-LoRA
UPDATES, STEPS = 100, 200
SHIPPED = "FewTune"


def cases(settings: Settings) -> Cases:
    """Return the parts of a step that are chosen."""
    return {
        "step": partial(_steps, settings),
        "without dropout": partial(_without_dropout, settings),
        "optimizer": partial(_optimizers, settings),
        "read-ahead": partial(_read_ahead, settings),
    }


def _steps(settings: Settings) -> list[Row]:
    precision: Precision = "bf16" if settings.precision == "bf16" else "fp32"
    chosen = choose_attention(torch.device("cpu"), precision)
    ways = [way for way in get_args(Plan.model_fields["attention"].annotation) if way != chosen]
    others = {
        **{f"attention: {way} instead of {chosen}": {"attention": way} for way in ways},
        "blocks compiled": _compiled(settings),
        "one mask for the common beginning": {"recipe": {"shared_prefix": True}},
    }
    return _against("CLIP-LoRA step, batch 8", others, _lora(settings), settings)


def _without_dropout(settings: Settings) -> list[Row]:
    shared = {**_lora(settings), "options": {"dropout": 0.0}}
    others = {"blocks compiled": _compiled(settings)}
    return _against("CLIP-LoRA step, batch 8, no dropout", others, shared, settings)


def _against(
    what: str, others: dict[str, dict[str, Any]], shared: dict[str, Any], settings: Settings
) -> list[Row]:
    """Return a row for each step that differs in some arguments from FewTune's own."""
    turns = replace(settings, repeats=min(TURNS, settings.repeats))
    builder = "benchmarks.variants:step"
    contenders = [Contender(SHIPPED, builder, shared)] + [
        Contender(name, builder, {**shared, **arguments}) for name, arguments in others.items()
    ]
    ours, *found = race(contenders, turns)
    return [
        Row(
            what, name, ours.median_s, other.median_s, "s", other.median_s / ours.median_s,
            None, "at least", turns.repeats,
            f"first step {other.first_s:.0f} s" if "compiler" in others[name] else "",
        )
        for name, other in zip(others, found, strict=True)
    ]  # fmt: skip


def _optimizers(settings: Settings) -> list[Row]:
    updates, steps = (1, 2) if settings.quick else (UPDATES, STEPS)
    probe = {
        "strategy": "linear-probe",
        "size": "tiny" if settings.quick else "ViT-B32",
        "classes": 4 if settings.quick else 100,
        "batch": 32,
        "images": 32 if settings.quick else 1600,
        "precision": settings.precision,
    }
    rows = []
    for what, function, number, shared in (
        ("AdamW alone, CLIP-LoRA's tensors", "updates", updates, _lora(settings)),
        ("linear-probe, a cached step", "cached_steps", steps, probe),
    ):
        builder = f"benchmarks.variants:{function}"
        kinds = get_args(Optimizer)
        ours, *others = race(
            [Contender(k, builder, {**shared, "optimizer": k, "number": number}) for k in kinds],
            settings,
        )
        rows += [
            Row(
                what, f"AdamW: {kind} instead of {kinds[0]}", ours.median_s / number,
                other.median_s / number, "s", other.median_s / ours.median_s, None, "at least",
                settings.repeats, f"{number} in a turn",
            )
            for kind, other in zip(kinds[1:], others, strict=True)
        ]  # fmt: skip
    return rows


def _read_ahead(settings: Settings) -> list[Row]:
    size, classes, batch = ("tiny", 4, 2) if settings.quick else ("ViT-B32", 100, 32)
    shared = {
        "strategy": "linear-probe",
        "size": size,
        "classes": classes,
        "batch": batch,
        "precision": settings.precision,
    }
    builder = "benchmarks.variants:streamed_step"
    ours, other = race(
        [Contender(str(ahead), builder, {**shared, "ahead": ahead}) for ahead in (False, True)],
        settings,
    )
    return [
        Row(
            "linear-probe, a step streamed from JPEG files", "the next batch is read meanwhile",
            ours.median_s, other.median_s, "s", other.median_s / ours.median_s, None, "at least",
            settings.repeats,
        )
    ]  # fmt: skip


def _lora(settings: Settings) -> dict[str, Any]:
    size, classes, batch = ("tiny", 4, 2) if settings.quick else ("ViT-B16", 100, 8)
    return {
        "strategy": "clip-lora",
        "size": size,
        "classes": classes,
        "batch": batch,
        "precision": settings.precision,
    }


def _compiled(settings: Settings) -> dict[str, Any]:
    return {"compiler": "" if settings.quick else "inductor"}  # compiling takes seconds at any size
