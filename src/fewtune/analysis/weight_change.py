"""Weight change: how far tuning moves each layer, D = sum_i (w_i - w_i^0)^2 over its weights.

This is the change per layer of CLIPFit's figure 3, for any strategy. A layer is the tensors of one
kind in a block. An injected layer that can be merged counts by what it changes in the weight
whose place it takes; what a strategy adds counts by its own change from its start.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewtune.analysis import layer_sums
from fewtune.analysis.locate_parameters import replaced_modules
from fewtune.analysis.parameter_map import ParameterGroup
from fewtune.analysis.replay import Opened
from fewtune.reports.figures import write_figure

STEM = "drift"  # scripts read the files by this name


@dataclass(frozen=True)
class Change:
    """The change of one tensor, or of the part of it that one stage sees.

    Attributes:
        part: Where it is; for a merged layer, its weight.
        elements: Weights that changed or could.
        change: Sum of squared changes; None where the start is not known here.
        start: Sum of squares before.
    """

    part: ParameterGroup
    elements: int
    change: float | None
    start: float | None


def changes(run: Opened) -> list[Change]:
    """Return the change of every tensor that a run trains, towers from input to output."""
    return [*_merged(run), *_plain(run)]


def _merged(run: Opened) -> Iterator[Change]:
    """Yield the change of each weight that an injected layer took the place of and can be merged.

    W + s B A is made in double precision, where the sum loses nothing of a small update.
    """
    replaced = replaced_modules(run.head.model)
    first = {part.module: part for part in reversed(run.parameters.tuned)}
    for name, (module, replacement) in replaced.items():
        if name not in first or not hasattr(replacement, "merged"):
            continue
        twin: Any = copy.deepcopy(replacement).double()
        merged: nn.Module = twin.merged()
        for attribute, after in merged.named_parameters():
            before = module.get_parameter(attribute)
            if attribute == "weight" or not torch.equal(after, before.double()):
                part = replace(first[name], name=f"model.{name}.{attribute}")
                yield _change(part, before, after)


def _plain(run: Opened) -> Iterator[Change]:
    model = run.head.model
    merged = {n for n, (_, new) in replaced_modules(model).items() if hasattr(new, "merged")}
    saved = run.head.saved()
    for part in run.parameters.tuned:
        kind, _, inner = part.name.partition(".")
        if kind == "model" and inner in model.initial:
            yield _change(part, part.of(model.initial[inner]), part.of(saved[part.name]))
        elif part.module not in merged:
            start = run.start
            if start is None:
                yield Change(part, part.elements, None, None)
            else:
                yield _change(part, part.of(start[part.name]), part.of(saved[part.name]))


def _change(part: ParameterGroup, before: Tensor, after: Tensor) -> Change:
    old, new = (tensor.detach().cpu().double() for tensor in (before, after))
    moved = float((new - old).square().sum())
    return Change(part, old.numel(), moved, float(old.square().sum()))


def table(run: Opened, found: Sequence[Change]) -> list[dict[str, Any]]:
    """Return a row for each tensor."""
    return [
        {
            "run": run.folder.path.name,
            "tower": change.part.tower,
            "stage": change.part.stage,
            "group": change.part.group,
            "tensor": change.part.name,
            "elements": change.elements,
            "squared_change": change.change,
            "squared_start": change.start,
        }
        for change in found
    ]


def per_layer(found: Sequence[Change]) -> dict[layer_sums.Layer, float]:
    """Return D of each layer; layers whose start is not known are left out."""
    known = [(change.part, change.change) for change in found if change.change is not None]
    return layer_sums.sums(known)


def analyse(runs: Sequence[Opened], out: Path) -> dict[str, Any]:
    """Write drift.svg, .pdf, .csv and .json, and return what the JSON holds.

    Runs stand side by side, on one scale.
    """
    found = [changes(run) for run in runs]
    rows = [row for run, of in zip(runs, found, strict=True) for row in table(run, of)]
    sums = [per_layer(of) for of in found]
    facts = {
        "runs": [
            {
                "run": run.folder.path.name,
                "label": run.label,
                "groups": layer_sums.groups(of),
                "unknown": sorted({c.part.name for c in changed if c.change is None}),
            }
            for run, of, changed in zip(runs, sums, found, strict=True)
        ]
    }
    layer_sums.write_numbers(out / STEM, rows, facts)
    shown = layer_sums.axis_of(
        [run.parameters for run in runs], [layer for of in sums for layer in of]
    )
    if shown:
        rows_of = [(run.label, of) for run, of in zip(runs, sums, strict=True)]
        write_figure(
            out / STEM,
            lambda: layer_sums.draw(shown, rows_of, "squared change  Σ (w − w₀)²"),
            f"Squared change of the weights by layer: {'; '.join(run.label for run in runs)}.",
        )
    return facts
