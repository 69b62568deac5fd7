"""Many runs at once: seeds and rates of a strategy that works on finished features, in one program.

Where the cut is the finished embedding on both sides, a step is so small that calling it costs more
than computing it. Here the trained tensors of M runs are stacked (M, ...), a step of all of them is
one `vmap`, and torch's own optimizer updates the stack, whose rule treats each element alone. Every
run keeps its draw, batch order and schedule, and writes an ordinary folder.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fewtune.core.errors import RunError
from fewtune.core.files import digest
from fewtune.core.head import Head
from fewtune.core.lock import locked
from fewtune.core.model import Partial
from fewtune.core.spec import Plan
from fewtune.engine import evaluate
from fewtune.engine.device import autocast
from fewtune.engine.fit import Training, make_optimizer, prepare, seed_step, training_mode
from fewtune.engine.images import Pixels
from fewtune.engine.inputs import Inputs
from fewtune.engine.job import Job
from fewtune.engine.run import Execution, Result, load_backbone, run
from fewtune.engine.tracking import Step, Tracker

# What may differ between runs of a batch, beside the seed: it acts on the optimizer alone.
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
TOLERANCE = 1e-3  # of the first losses, stacked against alone; bf16 rounds at 4e-3


def run_batched(jobs: Sequence[Job], tracker: Tracker) -> list[Result]:
    """Execute jobs, those that differ in seed and rates alone at once, and return their results.

    What cannot be batched (another strategy, one that tunes the encoders, an interrupted run) is
    executed one by one. An interrupted batch starts again.

    Raises:
        DataError: A task has no test images or no training images.
        RunError: Training of some run failed, or a folder cannot be written; the other runs of its
            batch are complete.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, job in enumerate(jobs):
        groups[_likeness(job)].append(index)
    results: dict[int, Result] = {}
    for indices in groups.values():
        alike = [jobs[index] for index in indices]
        found = _together(alike, tracker) if len(alike) > 1 else [None] * len(alike)
        for index, job, result in zip(indices, alike, found, strict=True):
            results[index] = result or run(job, tracker)
    return [results[index] for index in range(len(jobs))]


def _likeness(job: Job) -> str:
    """Return a digest that is equal for jobs which may be batched."""
    recipe = job.resolved_recipe()
    spec = job.spec("", job.backbone, job.precision or "fp32")
    value = spec.model_dump(mode="json", exclude={"seed", "recipe"})
    place = [job.device, job.precision, job.threads, str(job.runs), job.cache, str(job.cache_dir)]
    alone = recipe is None or job.time_budget_s is not None or not job.task.test
    return digest(
        [
            value,
            place,
            recipe.model_dump(mode="json", exclude=RATE_FIELDS) if recipe else None,
            job.seed if alone else None,
        ]
    )


def _together(jobs: Sequence[Job], tracker: Tracker) -> list[Result | None]:
    """Train what can be trained at once, and return the results of the runs that are complete."""
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
            _fill(left, zero.folder.record(), tracker)
    return [
        Result(e.folder.path, e.folder.record(), zero.folder.record(), e.folder.path in fresh)
        if e.folder.complete() and zero.folder.complete()
        else None
        for e in executions
    ]


def _fill(executions: Sequence[Execution], zero_shot: dict[str, Any], tracker: Tracker) -> None:
    """Train runs at once and write their folders; leave them if that cannot be done."""
    began = time.perf_counter()
    members = _members(executions)
    first = members[0]
    reason = _refusal(members)
    if not reason:
        batch = Batch(members)
        reason = batch.refusal()
    if reason:
        tracker.stage(f"{reason}: {len(executions)} runs one by one")
        return
    tracker.stage(f"training {len(members)} runs of {first.execution.spec.strategy} at once")
    batch.train()
    cost = {
        "steps": first.training.total,
        "training_s": round((time.perf_counter() - began) / len(members), 3),
        "runs_at_once": len(members),
    }
    images, text = _evaluation(first)
    errors = []
    for index, member in enumerate(members):
        batch.unstack(index)
        member.execution.images, member.execution.text = images, text
        try:
            member.finish(zero_shot, cost)
        except RunError as error:  # the other runs are not to be lost
            errors.append(error)
    if errors:
        raise errors[0]


@dataclass
class Member:
    """One run of a batch.

    Attributes:
        phase: Name of its one stretch of training.
        steps: What was logged of each step.
        broken: The step whose loss was not finite.
    """

    execution: Execution
    training: Training
    plan: Plan
    phase: str
    steps: list[Step]
    broken: int | None = None

    def finish(self, zero_shot: dict[str, Any], cost: dict[str, Any]) -> None:
        """Settle, evaluate and write the folder.

        Raises:
            RunError: The run diverged, or its folder cannot be written.
        """
        execution = self.execution
        if self.broken is not None:
            recipe = self.training.recipe
            raise RunError(
                f"The loss became {self.steps[self.broken].loss} at step {self.broken + 1} of "
                f"{self.training.total}, seed {self.training.seed}, lr {recipe.lr:g}.",
                hint=f"Lower the learning rate: --lr {recipe.lr / 10:g}.",
            )
        execution.tracker.start(execution.folder.path, execution.spec.model_dump(mode="json"))
        execution.tracker.replay(self.steps)
        execution.settle(self.training.head, self.plan)
        execution.finish(self.training.head, self.plan, zero_shot, cost)


def _members(executions: Sequence[Execution]) -> list[Member]:
    """Attach and prepare each run; runs of a seed share images, all share the class prompts."""
    members: list[Member] = []
    of_seed: dict[int, Inputs] = {}
    for execution in executions:
        job, plan = execution.job, execution.begin()
        execution.folder.write_plan(plan)
        recipe = job.resolved_recipe()
        assert recipe is not None
        phase = job.strategy.phases(recipe)[0]
        seed_step(job.seed, 0, -1)
        with autocast(execution.model.device, execution.precision):
            head = phase.attach(execution.model, execution.support.classes, None)
        training = execution.training(head, phase.recipe, plan, 0)
        training.inputs = of_seed.setdefault(job.seed, training.inputs)
        if members:
            training.classes = members[0].training.classes
        members.append(Member(execution, training, plan, phase.name, []))
        if _refusal(members):  # what tunes the encoders is attached once at most
            break
        prepare(training, execution.tracker)
    # Runs whose optimizer has equal settings stand side by side in the stack.
    return sorted(members, key=lambda member: digest(member.training.recipe.model_dump()))


def _refusal(members: Sequence[Member]) -> str:
    """Return why runs cannot be batched; "" if nothing speaks against it."""
    first = members[0].training
    job, model = members[0].execution.job, first.model
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
    if len({(m.training.count, m.training.total) for m in members}) > 1:
        return "draws differ in size"
    return "" if first.total else "nothing is trained"


class _Loss(nn.Module):
    """The loss of one run as a function of its tensors, finished embeddings and labels."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.head = training.head
        self.classes = training.classes
        self.at = len(training.model.image.stages())

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        output = self.head(Partial(self.head.model.image, z, self.at), self.classes)
        return self.head.loss(output, labels)


class Batch:
    """Runs whose tensors are stacked in front: (M, ...)."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.first = members[0].training
        self.device = self.first.model.device
        self.loss = _Loss(self.first)
        self.inputs = list({id(m.training.inputs): m.training for m in members}.values())
        place = {id(training.inputs): index for index, training in enumerate(self.inputs)}
        self.place = torch.tensor([place[id(m.training.inputs)] for m in members]).to(self.device)
        states = [self._state(member.training.head) for member in members]
        self.stacked = {
            name: torch.stack([state[name].detach() for state in states]) for name in states[0]
        }
        self.trained = [name for name, p in self.loss.named_parameters() if p.requires_grad]
        for name in self.trained:
            self.stacked[name].requires_grad_(True)
        self.slices = self._slices()
        self.optimizer = make_optimizer(self.first.recipe, self._groups())

    def refusal(self) -> str:
        """Return why the stack does not compute what its runs do; "" if it does."""
        alone = torch.stack([member.training.forward(0).detach() for member in self.members])
        try:
            stacked = self._losses(0).detach()
        except RuntimeError as error:  # randomness, or control flow that depends on values
            return f"the head cannot be stacked ({str(error).splitlines()[0]})"
        if not torch.allclose(alone, stacked, rtol=TOLERANCE, atol=TOLERANCE):
            return "the stacked losses differ from those of single runs"
        return ""

    def train(self) -> None:
        """Make all steps of all runs."""
        first = self.first
        losses: list[Tensor] = []
        rates: list[list[float]] = []
        for member in self.members:
            training_mode(member.training.head, True)
        for step in range(first.total):
            loss = self._losses(step)
            loss.sum().backward()  # type: ignore[no-untyped-call]
            rates.append(self._update(step))
            losses.append(loss.detach())
        values = torch.stack(losses).cpu().T.tolist()
        for index, member in enumerate(self.members):
            training_mode(member.training.head, False)
            of_member = [row[index] for row in rates]
            pairs = enumerate(zip(values[index], of_member, strict=True))
            member.steps = [
                Step(member.phase, step + 1, first.total, loss, rate, 0.0)
                for step, (loss, rate) in pairs
            ]
            bad = [step for step, loss in enumerate(values[index]) if not math.isfinite(loss)]
            member.broken = bad[0] if bad else None

    @torch.no_grad()
    def unstack(self, index: int) -> None:
        """Put the tensors of one run back into its head."""
        for name, value in self._state(self.members[index].training.head).items():
            value.copy_(self.stacked[name][index])

    def _state(self, head: Head) -> dict[str, Tensor]:
        state = {**dict(head.named_parameters()), **dict(head.named_buffers())}
        return {f"head.{name}": value for name, value in state.items()}

    def _losses(self, step: int) -> Tensor:
        """Return the losses (M,) of a step."""
        batches = [training.batch(step) for training in self.inputs]
        labels = torch.stack(
            [t.labels[batch] for t, (batch, _) in zip(self.inputs, batches, strict=True)]
        )
        with autocast(self.device, self.first.precision):
            with torch.no_grad():
                z = torch.stack(
                    [
                        training.inputs.batch(batch, epoch).done().x
                        for training, (batch, epoch) in zip(self.inputs, batches, strict=True)
                    ]
                )
            losses: Tensor = vmap(self._loss)(self.stacked, z[self.place], labels[self.place])
        return losses

    def _loss(self, state: dict[str, Tensor], z: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = functional_call(self.loss, state, (z, labels))
        return loss

    def _slices(self) -> list[slice]:
        """Return the stretches of the stack whose runs have the same recipe."""
        recipes = [member.training.recipe for member in self.members]
        starts = [i for i in range(len(recipes)) if i == 0 or recipes[i] != recipes[i - 1]]
        return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(recipes)], strict=True)]

    def _groups(self) -> list[dict[str, Any]]:
        """Return a head's groups for each stretch; their tensors share the memory of the stack."""
        names = {id(p): f"head.{name}" for name, p in self.first.head.named_parameters()}
        self.views: list[tuple[str, slice, nn.Parameter]] = []
        groups = []
        for part in self.slices:
            recipe = self.members[part.start].training.recipe
            own = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "recipe": recipe}
            if recipe.optimizer == "sgd":
                own["momentum"] = recipe.momentum
            for group in self.first.head.groups(self.first.parameters):
                views = [
                    (names[id(p)], part, nn.Parameter(self.stacked[names[id(p)]].detach()[part]))
                    for p in group["params"]
                ]
                self.views += views
                groups.append({**own, **group, "params": [view for _, _, view in views]})
        return groups

    def _update(self, step: int) -> list[float]:
        """Update the stack from its gradient, and return the rate of each run."""
        first = self.first
        for group in self.optimizer.param_groups:
            rate = group["recipe"].rate(step, first.total, first.per_epoch, first.scale)
            group["lr"] = rate * group.get("rate", 1.0)
        for name, part, view in self.views:
            gradient = self.stacked[name].grad
            view.grad = None if gradient is None else gradient[part]
        self.optimizer.step()
        for name in self.trained:
            self.stacked[name].grad = None
        return [
            m.training.recipe.rate(step, first.total, first.per_epoch, first.scale)
            for m in self.members
        ]


def _evaluation(member: Member) -> tuple[Inputs, Partial | None]:
    """Return test images and class prompts that are encoded once for all runs."""
    execution, training = member.execution, member.training
    model, test = execution.model, execution.task.test
    execution.tracker.stage(f"encoding {len(test):,} test images")
    images = Inputs(
        model,
        Pixels(test, model.preprocess, device=model.device),
        len(model.image.stages()),
        execution.precision,
        views=1,
        budget_bytes=member.plan.cache_mib * 2**20,
        store=execution.store,
        encoding_batch=member.plan.encoding_batch,
    )
    classes = execution.support.classes
    return images, evaluate.encode_classes(model, training.head, classes, execution.precision)
