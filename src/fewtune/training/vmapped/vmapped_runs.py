"""Vmapped runs: seeds and rates of a strategy that works on finished features, trained at once.

Where the cut is the finished embedding in both towers, calling a step costs more than computing it.
Here the trained tensors of M runs are stacked (M, ...), a step of all of them is one `vmap`, and
torch's own optimizer, which treats each element alone, updates the stack. Every run keeps its draw,
batch order and schedule, and writes an ordinary folder.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fewtune.core.errors import RunError
from fewtune.core.files import digest
from fewtune.core.lock import locked
from fewtune.core.naming import counted
from fewtune.core.run_config import ExecutionSettings
from fewtune.core.spec import scores_what_is_drawn
from fewtune.model.head import Head
from fewtune.model.towers import Activations
from fewtune.training import scoring
from fewtune.training.feature_cache import FeatureCache
from fewtune.training.job import Job, Result
from fewtune.training.loop import Training, prepare
from fewtune.training.memory.memory_plan import plan_runs
from fewtune.training.memory.memory_probe import MIB
from fewtune.training.run import Execution, run
from fewtune.training.run_model import load_backbone
from fewtune.training.tracking import Tracker
from fewtune.training.vmapped.run_stack import RunStack, StackedRun

# What may differ between runs of a stack, apart from the seed: it acts on the optimizer alone.
RATE_FIELDS = {
    "lr",
    "min_lr",
    "weight_decay",
    "momentum",
    "schedule",
    "schedule_unit",
    "warmup",
    "warmup_lr",
}


def run_vmapped(jobs: Sequence[Job], tracker: Tracker) -> list[Result]:
    """Execute jobs, those that differ in seed and rates alone at once, and return their results.

    What cannot be stacked (another strategy, one that tunes the encoders, an interrupted run) is
    executed one by one. An interrupted stack starts again.

    Raises:
        DataError: A task has no test images or no training images.
        RunError: Training of some run failed, or a folder cannot be written; the other runs of its
            stack are complete.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, job in enumerate(jobs):
        groups[stack_key(job)].append(index)
    results: dict[int, Result] = {}
    for indices in groups.values():
        alike = [jobs[index] for index in indices]
        found = _run_group(alike, tracker) if len(alike) > 1 else [None] * len(alike)
        for index, job, result in zip(indices, alike, found, strict=True):
            results[index] = result or run(job, tracker)
    return [results[index] for index in range(len(jobs))]


def stack_key(job: Job) -> str:
    """Return a digest that is equal for jobs which may be trained in one stack."""
    recipe = job.resolved_recipe()
    config, spec = job.config, job.spec("", job.config.backbone, "fp32")
    # The runs of a stack share their test images.
    other_test = scores_what_is_drawn(job.task.name, config.shots)
    alone = recipe is None or config.time_budget_s is not None or not job.task.test or other_test
    return digest(
        [
            spec.model_dump(mode="json", exclude={"seed", "drawn", "recipe"}),
            config.model_dump(mode="json", include=set(ExecutionSettings.model_fields)),
            recipe.model_dump(mode="json", exclude=RATE_FIELDS) if recipe else None,
            job.config.seed if alone else None,
        ]
    )


def _run_group(jobs: Sequence[Job], tracker: Tracker) -> list[Result | None]:
    """Train at once what can be, and return the result of each job whose run is complete."""
    model = load_backbone(jobs[0], tracker)
    zero = Execution(jobs[0].baseline(), model, tracker)
    executions = [Execution(job, model, tracker) for job in jobs]
    fresh = {
        e.folder.path: e
        for e in executions
        if not e.folder.complete() and not e.folder.checkpoint.exists() and e.support.train
    }
    if len(fresh) > 1:
        if not zero.folder.complete():
            zero.execute(None)
        with contextlib.ExitStack() as stack:
            for path in fresh:
                stack.enter_context(locked(path, wait=False))
            left = [e for e in fresh.values() if not e.folder.complete()]
            for execution in left[:1]:  # all have the same test images
                stack.enter_context(execution.guarded())
            _train_group(left, zero.folder.record(), tracker)
    return [
        Result(e.folder.path, e.folder.record(), zero.folder.record(), e.folder.path in fresh)
        if e.folder.complete() and zero.folder.complete()
        else None
        for e in executions
    ]


def _train_group(
    executions: Sequence[Execution], zero_shot: dict[str, Any], tracker: Tracker
) -> None:
    """Train runs in stacks of as many as fit into memory, and write their folders.

    Runs that cannot be stacked are left to the caller.
    """
    # Runs with equal optimizer settings are neighbours in the stack.
    left = sorted(executions, key=lambda e: digest(e.spec.model_dump(mode="json")["recipe"]))
    shared = SharedInputs(len({execution.job.config.seed for execution in left}))
    pair = shared.stacked_runs(left[:2])
    reason = _refusal(pair)
    size = 0 if reason else _runs_that_fit(pair, shared.seeds, len(left))
    shared.ready = {stacked.execution.folder.path: stacked for stacked in pair}
    del pair
    errors: list[RunError] = []
    while left and not reason:
        if size < 2:
            reason = "there is memory for one run at a time"
            break
        part = left[:size]
        try:
            reason = _train_stack(shared, part, zero_shot, tracker, errors)
            left = left[size:]
        except torch.OutOfMemoryError:
            size = math.ceil(size / 2)
    if reason:
        tracker.status(f"{reason}: {counted(len(left), 'run')} one by one")
    if errors:
        raise errors[0]


def _train_stack(
    shared: SharedInputs,
    executions: Sequence[Execution],
    zero_shot: dict[str, Any],
    tracker: Tracker,
    errors: list[RunError],
) -> str:
    """Train runs in one stack and write their folders; return why that cannot be done, or ""."""
    began = time.perf_counter()
    runs = shared.stacked_runs(executions)
    if reason := _refusal(runs):
        return reason
    stack = RunStack(runs)
    if reason := stack.refusal():
        return reason
    for stacked in runs:
        stacked.execution.folder.write_plan(stacked.training.plan)
    first = runs[0]
    tracker.status(f"training {len(runs)} runs of {first.execution.spec.strategy} at once")
    stack.train()
    cost = {
        "steps": first.training.total,
        "training_s": round((time.perf_counter() - began) / len(runs), 3),
        "runs_at_once": len(runs),
    }
    images, text = shared.evaluation(first)
    for index, stacked in enumerate(runs):
        stack.unstack(index)
        stacked.execution.images, stacked.execution.text = images, text
        try:
            stacked.finish(zero_shot, cost)
        except RunError as error:  # the other runs are not to be lost
            errors.append(error)
    return ""


def _runs_that_fit(pair: Sequence[StackedRun], seeds: int, runs: int) -> int:
    """Return how many of `runs` runs fit into memory at once, from what two of them take."""
    first = pair[0].training
    for stacked in pair:
        stacked.training.features.batch(range(1))  # fills the cache now, so that it is not counted

    def step(rows: int) -> None:
        RunStack(pair[:rows]).step(0)

    head_mib = sum(value.nbytes for value in first.head.state_dict().values()) / MIB
    plan = first.plan.model_copy(update={"cache_mib": first.plan.cache_mib * seeds})
    return plan_runs(plan, first.model.device, step, head_mib, runs)


class SharedInputs:
    """What the runs of a group share: training images of a seed, class prompts, test images.

    Attributes:
        seeds: How many seeds there are; each has a feature cache of its own.
        ready: Runs that are prepared already, by their folders.
    """

    def __init__(self, seeds: int) -> None:
        self.seeds = seeds
        self.ready: dict[Path, StackedRun] = {}
        self._features: dict[int, FeatureCache] = {}
        self._first: Training | None = None
        self._evaluation: tuple[FeatureCache, Activations | None] | None = None

    def stacked_runs(self, executions: Sequence[Execution]) -> list[StackedRun]:
        """Attach and prepare each run; the list ends with the first that cannot be stacked."""
        runs: list[StackedRun] = []
        for execution in executions:
            ready = self.ready.pop(execution.folder.path, None)
            runs.append(ready or self._attached(execution))
            if ready:
                continue
            if _refusal(runs):  # what tunes the encoders is attached once at most
                break
            prepare(runs[-1].training, execution.tracker)
        return runs

    def _attached(self, execution: Execution) -> StackedRun:
        job, plan = execution.job, execution.begin()
        plan = plan.model_copy(update={"cache_mib": plan.cache_mib // self.seeds})
        recipe = job.resolved_recipe()
        assert recipe is not None
        phase = job.strategy.phases(recipe)[0]
        head = execution.attached(phase, 0, None)
        training = execution.training(head, phase.recipe, plan, 0)
        training.features = self._features.setdefault(job.config.seed, training.features)
        if self._first is None:
            self._first = training
        else:
            training.classes = self._first.classes
        return StackedRun(execution, training, phase.name)

    def evaluation(self, stacked: StackedRun) -> tuple[FeatureCache, Activations | None]:
        """Return test images and class prompts that are encoded once for all runs."""
        if self._evaluation is None:
            execution, training = stacked.execution, stacked.training
            test, classes = execution.task.test, execution.support.classes
            execution.tracker.status(f"encoding {counted(len(test), 'test image')}")
            images = execution.inputs(test, training.head, training.plan, once=False)
            text = scoring.encode_classes(training.head, classes, execution.precision)
            self._evaluation = images, text
        return self._evaluation


def _refusal(runs: Sequence[StackedRun]) -> str:
    """Return why runs cannot be stacked, or ""."""
    first = runs[0].training
    job, model = runs[0].execution.job, first.model
    if len(job.strategy.phases(first.recipe)) > 1:
        return f"{job.strategy.name()} is trained in several phases"
    text = first.cuts.text
    whole = (len(model.image.stages()), None if text is None else len(model.text.stages()))
    touched = model.tuned() or any(model.image.hooks.values()) or any(model.text.hooks.values())
    if (first.cuts.image, text) != whole or touched:
        return f"{job.strategy.name()} does not work on finished features alone"
    kind = type(first.head)
    if kind.backward is not Head.backward or kind.epoch_end is not Head.epoch_end:
        return f"{job.strategy.name()} has a training loop of its own"
    if len({(r.training.count, r.training.total) for r in runs}) > 1:
        return "draws differ in size"
    return "" if first.total else "nothing is trained"
