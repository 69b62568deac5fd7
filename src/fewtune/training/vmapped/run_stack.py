"""Runs whose tensors are stacked, so that one step is a step of them all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from fewtune.core.errors import RunError
from fewtune.core.spec import Plan, Recipe
from fewtune.model.head import Head
from fewtune.model.towers import Activations
from fewtune.training.cut import training_mode
from fewtune.training.device import autocast, rows_of
from fewtune.training.loop import Training, epoch_order, make_optimizer
from fewtune.training.run import Execution
from fewtune.training.tracking import Step

TOLERANCE = 1e-3  # of the first losses, stacked against alone

Gradients = dict[str, Tensor | None]
Program = Callable[[dict[str, Tensor], Tensor, Tensor], tuple[Tensor, Gradients]]


@dataclass
class StackedRun:
    """One run of a batch.

    Attributes:
        phase: Name of its one stretch of training.
        losses: Of each step.
        rates: Learning rate of each step.
    """

    execution: Execution
    training: Training
    plan: Plan
    phase: str
    losses: Sequence[float] = ()
    rates: Sequence[float] = ()

    def steps(self) -> list[Step]:
        """Return what is logged of each step."""
        pairs = enumerate(zip(self.losses, self.rates, strict=True), 1)
        total = len(self.losses)
        return [Step(self.phase, step, total, loss, rate, 0.0) for step, (loss, rate) in pairs]

    def finish(self, zero_shot: dict[str, Any], cost: dict[str, Any]) -> None:
        """Settle, evaluate and write the folder.

        Raises:
            RunError: The run diverged, or its folder cannot be written.
        """
        execution = self.execution
        broken = next((i for i, x in enumerate(self.losses) if not math.isfinite(x)), None)
        if broken is not None:
            recipe = self.training.recipe
            raise RunError(
                f"The loss became {self.losses[broken]} at step {broken + 1} of "
                f"{self.training.total}, seed {self.training.seed}, lr {recipe.lr:g}.",
                hint=f"Lower the learning rate: --lr {recipe.lr / 10:g}.",
            )
        execution.tracker.start(execution.folder.path, execution.spec.model_dump(mode="json"))
        execution.tracker.replay(self.steps())
        execution.tune_on_validation(self.training.head, self.plan)
        execution.finish(self.training.head, self.plan, zero_shot, cost)


class _Loss(nn.Module):
    """The loss of one run as a function of its tensors, finished embeddings and labels."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.head = training.head
        self.classes = training.classes
        self.at = len(training.model.image.stages())

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        output = self.head(Activations(self.head.model.image, z, self.at), self.classes)
        return self.head.loss(output, labels)


class RunStack:
    """Runs whose tensors are stacked in front: (M, ...).

    The loss of all runs and its gradient become a list of plain operations once: a step is so
    short that vmap and autograd would take longer to arrive at them than they take.

    Matrices lie transposed in memory, since the gradient of a stack of linear layers comes so; the
    optimizer does not mind, and a copy of all gradients is saved each step.
    """

    def __init__(self, members: Sequence[StackedRun]) -> None:
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
        self.slices = self._slices()
        self.optimizer = make_optimizer(self.first.recipe, self._groups())
        self._programs: dict[torch.Size, Program] = {}
        self._epoch: tuple[int, Tensor, Tensor] | None = None

    def refusal(self) -> str:
        """Return why the stack does not compute what its runs do; "" if it does."""
        alone = torch.stack([member.training.forward(0).detach() for member in self.members])
        try:
            stacked, _ = self._gradients(0)
        except RuntimeError as error:  # randomness, or control flow that depends on values
            return f"the head cannot be stacked ({str(error).splitlines()[0]})"
        if not torch.allclose(alone, stacked, rtol=TOLERANCE, atol=TOLERANCE):
            return "the stacked losses differ from those of single runs"
        return ""

    def train(self) -> None:
        """Make all steps of all runs."""
        for member in self.members:
            training_mode(member.training.head, True)
        losses, rates = zip(*map(self.step, range(self.first.total)), strict=True)
        values = torch.stack(losses).cpu().T.tolist()
        for stretch, part in enumerate(self.slices):
            for member, of_member in zip(self.members[part], values[part], strict=True):
                training_mode(member.training.head, False)
                member.losses, member.rates = of_member, [row[stretch] for row in rates]

    def step(self, step: int) -> tuple[Tensor, list[float]]:
        """Make one step and return the losses (M,) of all runs and the rates of all stretches."""
        losses, gradients = self._gradients(step)
        return losses, self._update(step, gradients)

    @torch.no_grad()
    def unstack(self, index: int) -> None:
        """Put the tensors of one run back into its head."""
        for name, value in self._state(self.members[index].training.head).items():
            value.copy_(_turned(self.leaves[name])[index])

    def _state(self, head: Head) -> dict[str, Tensor]:
        state = {**dict(head.named_parameters()), **dict(head.named_buffers())}
        return {f"head.{name}": value for name, value in state.items()}

    @torch.no_grad()
    def _gradients(self, step: int) -> tuple[Tensor, Gradients]:
        """Return the losses (M,) of a step and their gradients."""
        z, labels = self._batch(step)
        if z.shape not in self._programs:
            with autocast(self.device, self.first.precision), torch.enable_grad():
                self._programs[z.shape] = self._traced(z, labels)
        return self._programs[z.shape](self.leaves, z, labels)

    def _traced(self, z: Tensor, labels: Tensor) -> Program:
        """Return the operations that give losses and gradients, for inputs of these shapes."""

        def compute(
            leaves: dict[str, Tensor], z: Tensor, labels: Tensor
        ) -> tuple[Tensor, Gradients]:
            leaves = {name: leaf.detach() for name, leaf in leaves.items()}
            wanted = [leaves[name].requires_grad_() for name in self.trained]
            losses = self._losses(leaves, z[self.place], labels[self.place])
            found = torch.autograd.grad(losses.sum(), wanted, allow_unused=True)
            return losses.detach(), dict(zip(self.trained, found, strict=True))

        program: Program = make_fx(compute)(self.leaves, z, labels)
        return program

    def _losses(self, leaves: dict[str, Tensor], z: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (M,) of all runs on their embeddings (M, B, D) and labels (M, B)."""
        stacked = {name: _turned(leaf) for name, leaf in leaves.items()}
        losses: Tensor = vmap(self._loss)(stacked, z, labels)
        return losses

    def _loss(self, state: dict[str, Tensor], z: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = functional_call(self.loss, state, (z, labels))
        return loss

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the embeddings (S, B, D) and labels (S, B) that a step of each seed sees."""
        epoch, index = divmod(step, self.first.per_epoch)
        size = self.first.recipe.batch_size
        part = slice(index * size, (index + 1) * size)
        if not all(training.inputs.finished for training in self.inputs):
            return self._gathered(epoch, part)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, *self._gathered(epoch, slice(None)))
        _, z, labels = self._epoch
        return z[:, part], labels[:, part]

    def _gathered(self, epoch: int, part: slice) -> tuple[Tensor, Tensor]:
        """Return embeddings and labels of a part of an epoch, in the order of each seed."""
        z, labels = [], []
        with autocast(self.device, self.first.precision):
            for training in self.inputs:
                order = epoch_order(training.seed, epoch, training.count)[part]
                z.append(training.inputs.batch(order, epoch).encoded().x)
                labels.append(rows_of(training.labels, order))
        return torch.stack(z), torch.stack(labels)

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

    def _update(self, step: int, gradients: Gradients) -> list[float]:
        """Update the stack by its gradient, and return the rate of each stretch."""
        rates = [self._rate(self.members[part.start].training.recipe, step) for part in self.slices]
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["stretch"]] * group.get("rate", 1.0)
        for name, part, view in self.views:
            gradient = gradients[name]
            view.grad = None if gradient is None else gradient[part]
        self.optimizer.step()
        return rates

    def _rate(self, recipe: Recipe, step: int) -> float:
        return recipe.rate(step, self.first.total, self.first.per_epoch, self.first.scale)


def _turned(stack: Tensor) -> Tensor:
    """Return a stack of matrices with each transposed, and other stacks as they are."""
    return stack.mT if stack.dim() == 3 else stack
