"""Gradients of each layer in the first steps: how strong they are, and how steady.

The training of a run is made again from its spec and its images: the same batches, views, dropout
and optimizer. As in CLIPFit's figures 4 and 5, G = sum_i g_i^2 is the squared gradient of a layer
in a step; the steadiness of its direction is the cosine between the gradients of one step and the
next, and between that of a step and their mean.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from fewtune.analysis import layer_sums
from fewtune.analysis.layer_sums import Layer, layer_of
from fewtune.analysis.replay import Opened
from fewtune.training.loop import Training

STEM = "gradients"
STEPS = 8


@dataclass(frozen=True)
class Course:
    """The gradients of a layer in the first steps.

    Attributes:
        to_next: Cosine with the gradient of the next step, one fewer; None next to a zero gradient.
        to_mean: Cosine with the mean gradient of all steps.
    """

    squared: tuple[float, ...]
    to_next: tuple[float | None, ...]
    to_mean: tuple[float | None, ...]


@dataclass(frozen=True)
class Replay:
    """The first steps of a run, made again.

    Attributes:
        apart: Largest difference of a loss from the one that the run has logged; None where it
            logged none.
    """

    courses: dict[Layer, Course]
    losses: tuple[float, ...]
    apart: float | None


def replay(run: Opened, steps: int = STEPS) -> Replay | None:
    """Make the first steps of a run again; None without its images, or if it makes no step."""
    training = run.training()
    if training is None or training.total == 0:
        return None
    losses: list[float] = []
    gradients: dict[Layer, list[Tensor]] = defaultdict(list)
    with training.lowered():
        for step in range(min(steps, training.total)):
            losses.append(training.step(step)[0])
            for layer, gradient in _by_layer(run, training):
                gradients[layer].append(gradient)
    training.evaluation_mode()
    courses = {layer: course(found) for layer, found in gradients.items()}
    return Replay(courses, tuple(losses), _apart(run.folder.path / "metrics.jsonl", losses))


def _by_layer(run: Opened, training: Training) -> Iterator[tuple[Layer, Tensor]]:
    """Yield the gradient that a step left at the tensors of each layer, flat, on the CPU."""
    found: dict[Layer, list[Tensor]] = defaultdict(list)
    for part in run.parameters.tuned:
        parameter = training.parameters.get(part.name)
        if parameter is not None and parameter.grad is not None:
            gradient = part.of(parameter.grad).detach().cpu().double()
            found[layer_of(part)].append(gradient.clone())
    for layer, tensors in found.items():
        yield layer, torch.cat(tensors)


def course(gradients: Sequence[Tensor]) -> Course:
    """Return the course of a layer's gradients, one per step, flat: (N,) each."""
    mean = torch.stack(list(gradients)).mean(0)
    return Course(
        tuple(float(g.square().sum()) for g in gradients),
        tuple(_cosine(a, b) for a, b in pairwise(gradients)),
        tuple(_cosine(g, mean) for g in gradients),
    )


def _cosine(a: Tensor, b: Tensor) -> float | None:
    lengths = float(a.norm() * b.norm())
    return float(a @ b) / lengths if lengths else None


def _apart(log: Path, losses: Sequence[float]) -> float | None:
    if not log.exists():
        return None
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    # Later phases count their steps from 1 again: the first line of a step is the one.
    logged = {line["step"]: line["loss"] for line in reversed(lines) if "loss" in line}
    apart = [abs(loss - logged[i]) for i, loss in enumerate(losses, 1) if i in logged]
    return max(apart, default=None)


def table(run: Opened, found: Replay) -> list[dict[str, Any]]:
    """Return a row for each layer and step."""
    return [
        {
            "run": run.folder.path.name,
            **layer._asdict(),
            "step": step,
            "squared_gradient": of.squared[step - 1],
            "cosine_to_next": of.to_next[step - 1] if step <= len(of.to_next) else None,
            "cosine_to_mean": of.to_mean[step - 1],
        }
        for layer, of in found.courses.items()
        for step in range(1, len(of.squared) + 1)
    ]


def strength(found: Replay) -> dict[Layer, float]:
    """Return the mean squared gradient sum of each layer over the steps, where it is above 0."""
    means = {layer: fmean(of.squared) for layer, of in found.courses.items()}
    return {layer: value for layer, value in means.items() if value > 0}


def steadiness(found: Replay, *, to_mean: bool = False) -> dict[Layer, float]:
    """Return the mean cosine of each layer's gradients of successive steps, or to their mean."""
    known = {
        layer: [c for c in (of.to_mean if to_mean else of.to_next) if c is not None]
        for layer, of in found.courses.items()
    }
    return {layer: fmean(cosines) for layer, cosines in known.items() if cosines}


def analyse(runs: Sequence[Opened], out: Path, steps: int = STEPS) -> dict[str, Any]:
    """Write gradients.svg, .pdf, .csv and .json and directions.svg and .pdf; return the JSON.

    Runs that make no step, or without their images, are left out.
    """
    found = [(run, of) for run in runs if (of := replay(run, steps))]
    facts = {
        "runs": [
            {
                "run": run.folder.path.name,
                "label": run.label,
                "steps": len(of.losses),
                "losses": of.losses,
                "loss_apart_from_log": of.apart,
                "squared_gradient": layer_sums.groups(strength(of)),
                "cosine_to_next": layer_sums.groups(steadiness(of)),
                "cosine_to_mean": layer_sums.groups(steadiness(of, to_mean=True)),
            }
            for run, of in found
        ]
    }
    if not found:
        return facts
    layer_sums.write_numbers(out / STEM, [row for one in found for row in table(*one)], facts)
    strengths = [(run, strength(of)) for run, of in found]
    quantity = f"squared gradient sum Σ g², mean of {max(len(of.losses) for _, of in found)} steps"
    layer_sums.write_panels(out / STEM, strengths, quantity, f"{quantity}, by layer")
    cosines = [(run, steadiness(of)) for run, of in found]
    quantity = "cosine of successive gradients"
    layer_sums.write_panels(
        out / "directions", cosines, quantity, f"{quantity}, by layer", logarithmic=False
    )
    return facts
