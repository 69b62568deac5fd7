"""FewTune's side: the same steps through its own engine."""

from __future__ import annotations

import contextlib
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import Step
from benchmarks.models import dual_encoder, pixels, support
from fewtune.core.spec import Plan, Precision, Recipe
from fewtune.core.task import Support
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.load_strategy import load_strategy
from fewtune.training import scoring
from fewtune.training.checkpoints import Checkpoints
from fewtune.training.device import autocast, choose_attention
from fewtune.training.loop import Training, tune
from fewtune.training.memory.memory_plan import plan_training
from fewtune.training.memory.memory_probe import keep_freed_memory
from fewtune.training.run_model import attach
from fewtune.training.tracking import JsonLines
from fewtune.training.vmapped.run_stack import RunStack, StackedRun

CPU = torch.device("cpu")
_HELD = contextlib.ExitStack()  # what holds for as long as this process measures
SEEDS, RATES = 5, (1e-3, 3e-3, 1e-2, 3e-2)


def training(
    strategy: str,
    size: str,
    classes: int,
    batch: int,
    precision: Precision,
    images: int = 0,
    options: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    cache: bool = True,
    memory_mib: int = 0,
) -> Training:
    """Return a strategy on random weights, ready to make steps, with the plan of a run.

    Args:
        images: Training images; 0 for one batch.
        options: Of the strategy.
        recipe: Fields of its recipe beside the batch size.
        memory_mib: Most that the process may hold; 0 for any.
    """
    keep_freed_memory()
    chosen = load_strategy(strategy).model_validate(options or {})
    default = type(chosen).recipe
    assert default is not None
    wanted = default.model_copy(update={"batch_size": batch, **(recipe or {})})
    task = support(classes, images or batch)
    head = attach(chosen, dual_encoder(size), task.classes, wanted, seed=0)
    update = {"cache": cache, "memory_mib": memory_mib}
    if memory_mib:  # all of it for the step: there is nothing to keep
        update["cache_mib"] = 0
    plan = _plan(precision).model_copy(update=update)
    run = Training(head, task, wanted, plan, precision, seed=0, phase=0)
    run.use_plan(plan_training(plan, run))
    _HELD.enter_context(run.lowered())
    return run


def step(**arguments: Any) -> Step:
    """Return one training step."""
    run, steps = training(**arguments), count()
    return lambda: run.step(next(steps))


def epochs(number: int, **arguments: Any) -> Step:
    """Return the training loop over so many epochs; of what is cached, random numbers are there."""
    run = training(**arguments)
    if run.plan.cache:
        fill(run)
    run.step(0)
    steps = number * run.per_epoch
    return lambda: [run.step(index) for index in range(steps)]


def seeds_and_rates(
    strategy: str,
    size: str,
    classes: int,
    images: int,
    precision: Precision,
    steps: int,
    at_once: bool,
) -> Step:
    """Return the training loops of five seeds and four rates, at once or one by one."""
    keep_freed_memory()
    kind, model, task = load_strategy(strategy), dual_encoder(size), support(classes, images)
    default = kind.recipe
    assert default is not None
    members: list[StackedRun] = []
    for lr in RATES:
        recipe = default.model_copy(update={"lr": lr, "length": steps, "length_unit": "steps"})
        for seed in range(SEEDS):
            run = _member(kind(), model, task, recipe, precision, seed)
            if members:
                run.classes = members[0].training.classes
            run.features = (
                members[seed].training.features if len(members) >= SEEDS else run.features
            )
            members.append(StackedRun(None, run, "tune"))  # type: ignore[arg-type]
    for member in members[:SEEDS]:
        fill(member.training)
    folder = Path(tempfile.mkdtemp())
    trackers = [JsonLines() for _ in members]

    def together() -> None:
        batch = RunStack(members)
        batch.train()
        for index, (member, tracker) in enumerate(zip(members, trackers, strict=True)):
            batch.unstack(index)
            tracker.start(folder, {})
            tracker.replay(member.steps())

    def one_by_one() -> None:
        for member, tracker in zip(members, trackers, strict=True):
            tracker.start(folder, {})
            tune(member.training, "tune", Checkpoints(folder / "none", float("inf")), tracker)

    return together if at_once else one_by_one


def prediction(strategy: str, size: str, classes: int, batch: int, precision: Precision) -> Step:
    """Return the scoring of a batch of ready pixels by a merged classifier."""
    head = merged(strategy, size, classes)
    text = scoring.encode_classes(head, head.classes, precision)
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


def _plan(precision: Precision) -> Plan:
    return Plan(
        device="cpu",
        threads=torch.get_num_threads(),
        cache_mib=4096,
        attention=choose_attention(CPU, precision),
    )


def _member(
    strategy: Any,
    model: DualEncoder,
    task: Support,
    recipe: Recipe,
    precision: Precision,
    seed: int,
) -> Training:
    head = attach(strategy, model, task.classes, recipe, seed)
    return Training(head, task, recipe, _plan(precision), precision, seed, 0)


def fill(run: Training) -> None:
    """Put random features where the cache keeps those of every view."""
    for view in range(run.features.kept):
        features = torch.randn(run.count, run.model.dim)
        dtype = torch.bfloat16 if run.precision == "bf16" else torch.float32
        run.features._kept[view] = features.to(dtype)
