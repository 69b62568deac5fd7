"""FewTune's side: the same steps through its own engine."""

from __future__ import annotations

from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import Step
from benchmarks.models import dual_encoder, pixels, support
from fewtune.core.discovery import load_strategy
from fewtune.core.head import Head
from fewtune.core.spec import Plan, Precision
from fewtune.engine import evaluate
from fewtune.engine.device import autocast
from fewtune.engine.fit import Training
from fewtune.engine.run import attach

CPU = torch.device("cpu")


def training(
    strategy: str,
    size: str,
    classes: int,
    batch: int,
    precision: Precision,
    images: int = 0,
    options: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
) -> Training:
    """Return a strategy on random weights, ready to make steps.

    Args:
        images: Training images; 0 for one batch.
        options: Of the strategy.
        recipe: Fields of its recipe beside the batch size.
        plan: Fields of the plan that are not chosen by the engine.
    """
    chosen = load_strategy(strategy).model_validate(options or {})
    default = type(chosen).recipe
    assert default is not None
    wanted = default.model_copy(update={"batch_size": batch, **(recipe or {})})
    task = support(classes, images or batch)
    head = attach(chosen, dual_encoder(size), task.classes, wanted, seed=0)
    chosen_plan = Plan(device="cpu", threads=torch.get_num_threads(), **(plan or {}))
    return Training(head, task, wanted, chosen_plan, precision, seed=0, phase=0)


def step(**arguments: Any) -> Step:
    """Return one training step."""
    run, steps = training(**arguments), count()
    return lambda: run.step(next(steps))


def epochs(number: int, **arguments: Any) -> Step:
    """Return the training loop over so many epochs; what is cached is computed before."""
    run = training(**arguments)
    run.step(0)
    steps = number * run.per_epoch
    return lambda: [run.step(index) for index in range(steps)]


def prediction(strategy: str, size: str, classes: int, batch: int, precision: Precision) -> Step:
    """Return the scoring of a batch of ready pixels by a merged classifier."""
    head = merged(strategy, size, classes)
    text = evaluate.encode_classes(head.model, head, head.classes, precision)
    images = pixels(head.model.net, batch)

    def score() -> Tensor:
        with torch.inference_mode(), autocast(CPU, precision):
            logits: Tensor = head(head.model.pixels(images), text).logits
            return logits.softmax(1)

    return score


def merged(strategy: str, size: str, classes: int) -> Head:
    """Return a head whose updates are part of plain layers."""
    task = support(classes, classes, side_px=8)
    head = attach(load_strategy(strategy)(), dual_encoder(size), task.classes, None, seed=0)
    head.model.merge()
    return head


def arithmetic(**arguments: Any) -> int:
    """Return the multiplications and additions of one training step."""
    run = training(**arguments)
    counter = FlopCounterMode(display=False)
    with counter:
        run.step(0)
    return int(counter.get_total_flops())
