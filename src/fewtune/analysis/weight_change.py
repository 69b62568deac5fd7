"""Weight change: how far tuning moves each layer, D = sum_i (w_i - w_i^0)^2 over its weights.

This is the change per layer of CLIPFit's figure 3, for any strategy. A layer is the tensors of one
kind in a block. An injected layer that can be merged counts by what it changes in the weight
whose place it takes; what a strategy adds counts by its own change from its start.
"""

import copy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewtune.analysis import layer_sums
from fewtune.analysis.layer_sums import Layer, layer_of
from fewtune.analysis.parameter_map import ParameterGroup, replaced_modules
from fewtune.analysis.replay import Opened

STEM = "drift"  # scripts read the files by this name


@dataclass(frozen=True)
class Change:
    """The change of one tensor, or of the part of it that one stage sees.

    Attributes:
        part: Where it is; for a merged layer, its weight.
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
            **layer_of(change.part)._asdict(),
            "tensor": change.part.name,
            "elements": change.elements,
            "squared_change": change.change,
            "squared_start": change.start,
        }
        for change in found
    ]


def per_layer(found: Sequence[Change]) -> dict[Layer, float]:
    """Return D of each layer; layers whose start is not known are left out."""
    totals: dict[Layer, float] = defaultdict(float)
    for change in found:
        if change.change is not None:
            totals[layer_of(change.part)] += change.change
    return dict(totals)


def analyse(runs: Sequence[Opened], out: Path) -> dict[str, Any]:
    """Write drift.svg, .pdf, .csv and .json, and return what the JSON holds.

    Runs stand side by side, on one scale.
    """
    found = [(run, changes(run)) for run in runs]
    facts = {
        "runs": [
            {
                "run": run.folder.path.name,
                "label": run.label,
                "groups": layer_sums.groups(per_layer(of)),
                "unknown": sorted({c.part.name for c in of if c.change is None}),
            }
            for run, of in found
        ]
    }
    layer_sums.write_numbers(out / STEM, [row for one in found for row in table(*one)], facts)
    layer_sums.write_panels(
        out / STEM,
        [(run, per_layer(of)) for run, of in found],
        "squared change  Σ (w − w₀)²",
        "Squared change of the weights by layer",
    )
    return facts
