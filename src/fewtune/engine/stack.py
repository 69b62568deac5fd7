"""Runs whose tensors are stacked, so that one step is a step of them all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fewtune.core.errors import RunError
from fewtune.core.head import Head
from fewtune.core.model import Partial
from fewtune.core.spec import Plan, Recipe
from fewtune.engine.device import autocast
from fewtune.engine.fit import Training, make_optimizer, training_mode
from fewtune.engine.run import Execution
from fewtune.engine.tracking import Step

TOLERANCE = 1e-3  # of the first losses, stacked against alone


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
    """Runs whose tensors are stacked in front: (M, ...).

    Matrices lie transposed in memory, since the gradient of a stack of linear layers comes so; the
    optimizer does not mind, and a copy of all gradients is saved each step.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.first = members[0].training
        self.device = self.first.model.device
        self.loss = _Loss(self.first)
        self.inputs = list({id(m.training.inputs): m.training for m in members}.values())
        place = {id(training.inputs): index for index, training in enumerate(self.inputs)}
        self.place = torch.tensor([place[id(m.training.inputs)] for m in members]).to(self.device)
        states = [self._state(member.training.head) for member in members]
        self.leaves = {
            name: _turned(torch.stack([state[name].detach() for state in states])).contiguous()
            for name in states[0]
        }
        self.trained = [name for name, p in self.loss.named_parameters() if p.requires_grad]
        for name in self.trained:
            self.leaves[name].requires_grad_(True)
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
        stretch_of = [k for k, part in enumerate(self.slices) for _ in range(part.start, part.stop)]
        for index, member in enumerate(self.members):
            training_mode(member.training.head, False)
            of_member = [row[stretch_of[index]] for row in rates]
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
            value.copy_(_turned(self.leaves[name])[index])

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
            stacked = {name: _turned(leaf) for name, leaf in self.leaves.items()}
            losses: Tensor = vmap(self._loss)(stacked, z[self.place], labels[self.place])
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
        for stretch, part in enumerate(self.slices):
            recipe = self.members[part.start].training.recipe
            own = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "stretch": stretch}
            if recipe.optimizer == "sgd":
                own["momentum"] = recipe.momentum
            for group in self.first.head.groups(self.first.parameters):
                views = [
                    (names[id(p)], part, nn.Parameter(self.leaves[names[id(p)]].detach()[part]))
                    for p in group["params"]
                ]
                self.views += views
                groups.append({**own, **group, "params": [view for _, _, view in views]})
        return groups

    def _update(self, step: int) -> list[float]:
        """Update the stack from its gradient, and return the rate of each stretch."""
        rates = [self._rate(self.members[part.start].training.recipe, step) for part in self.slices]
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["stretch"]] * group.get("rate", 1.0)
        for name, part, view in self.views:
            gradient = self.leaves[name].grad
            view.grad = None if gradient is None else gradient[part]
        self.optimizer.step()
        for name in self.trained:
            self.leaves[name].grad = None
        return rates

    def _rate(self, recipe: Recipe, step: int) -> float:
        return recipe.rate(step, self.first.total, self.first.per_epoch, self.first.scale)


def _turned(stack: Tensor) -> Tensor:
    """Return a stack of matrices with each transposed, and other stacks as they are."""
    return stack.mT if stack.dim() == 3 else stack
