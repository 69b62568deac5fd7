"""Stack of runs: their tensors stacked in front, so that one step is a step of every run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from fewtune.core.spec import Recipe
from fewtune.model.head import Head
from fewtune.model.towers import Activations
from fewtune.training.cut import training_mode
from fewtune.training.device import autocast, rows_of
from fewtune.training.loop import Training, make_optimizer
from fewtune.training.run import Execution
from fewtune.training.seeding import epoch_order
from fewtune.training.tracking import Step

TOLERANCE = 1e-3  # of the first losses, stacked against alone

Gradients = dict[str, Tensor | None]
Program = Callable[[dict[str, Tensor], Tensor, Tensor], tuple[Tensor, Gradients]]


@dataclass
class StackedRun:
    """One run of a stack, its only phase, and the loss and learning rate of each step."""

    execution: Execution
    training: Training
    phase: str
    losses: Sequence[float] = ()
    rates: Sequence[float] = ()

    def steps(self) -> list[Step]:
        """Return what is logged of each step."""
        pairs = enumerate(zip(self.losses, self.rates, strict=True), 1)
        total = len(self.losses)
        return [Step(self.phase, step, total, loss, rate, 0.0) for step, (loss, rate) in pairs]

    def finish(self, zero_shot: dict[str, Any], cost: dict[str, Any]) -> None:
        """Choose closed-form settings on validation images, evaluate, and write the folder.

        Raises:
            RunError: The run diverged, or its folder cannot be written.
        """
        execution, training = self.execution, self.training
        for step, loss in enumerate(self.losses):
            if not math.isfinite(loss):
                of_run = f", seed {training.seed}, lr {training.recipe.lr:g}"
                raise training.diverged(loss, step, of_run)
        execution.tracker.start(execution.folder.path, execution.spec.model_dump(mode="json"))
        execution.tracker.replay(self.steps())
        execution.tune_on_validation(training.head, training.plan)
        execution.finish(training.head, training.plan, zero_shot, cost)


class _Loss(nn.Module):
    """Loss of one run as a function of its tensors, its embeddings (B, D) and labels (B,)."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.head = training.head
        self.classes = training.classes
        self.at = len(training.model.image.stages())

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        output = self.head(Activations(self.head.model.image, z, self.at), self.classes)
        return self.head.loss(output, labels)


class RunStack:
    """Tensors of M runs, stacked: (M, ...).

    The losses and their gradients are traced once into a list of plain operations: a step is so
    short that vmap and autograd themselves would take most of its time.

    Matrices are stored transposed, since the gradients of stacked linear layers come transposed;
    the optimizer does not mind, and each step saves a copy of all gradients.

    Several of the M runs share one of S feature caches, those of the same seed.
    """

    def __init__(self, runs: Sequence[StackedRun]) -> None:
        self.runs = runs
        self.first = runs[0].training
        self.device = self.first.model.device
        self.loss = _Loss(self.first)
        self.seeds = list({id(run.training.features): run.training for run in runs}.values())
        index = {id(training.features): index for index, training in enumerate(self.seeds)}
        self.seed_of = torch.tensor([index[id(r.training.features)] for r in runs]).to(self.device)
        states = [self._state(run.training.head) for run in runs]
        self.leaves = {
            name: _transposed(torch.stack([state[name].detach() for state in states])).contiguous()
            for name in states[0]
        }
        self.trained = [name for name, p in self.loss.named_parameters() if p.requires_grad]
        self.recipe_slices = self._slices()
        self.optimizer = make_optimizer(self.first.recipe, self._groups())
        self._programs: dict[torch.Size, Program] = {}
        self._epoch: tuple[int, Tensor, Tensor] | None = None

    def refusal(self) -> str:
        """Return why the stack does not compute what its runs do; "" if it does."""
        alone = torch.stack([run.training.forward(0).detach() for run in self.runs])
        try:
            stacked, _ = self._gradients(0)
        except RuntimeError as error:  # randomness, or control flow that depends on values
            return f"the head cannot be stacked ({str(error).splitlines()[0]})"
        if not torch.allclose(alone, stacked, rtol=TOLERANCE, atol=TOLERANCE):
            return "the stacked losses differ from those of single runs"
        return ""

    def train(self) -> None:
        """Make all steps of all runs."""
        for run in self.runs:
            training_mode(run.training.head, True)
        losses, rates = zip(*map(self.step, range(self.first.total)), strict=True)
        values = torch.stack(losses).cpu().T.tolist()
        for index, part in enumerate(self.recipe_slices):
            for run, run_losses in zip(self.runs[part], values[part], strict=True):
                training_mode(run.training.head, False)
                run.losses, run.rates = run_losses, [row[index] for row in rates]

    def step(self, step: int) -> tuple[Tensor, list[float]]:
        """Make one step and return the losses (M,) and the rate of each recipe slice."""
        losses, gradients = self._gradients(step)
        return losses, self._update(step, gradients)

    @torch.no_grad()
    def unstack(self, index: int) -> None:
        """Put the tensors of one run back into its head."""
        for name, value in self._state(self.runs[index].training.head).items():
            value.copy_(_transposed(self.leaves[name])[index])

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
            losses = self._losses(leaves, z[self.seed_of], labels[self.seed_of])
            found = torch.autograd.grad(losses.sum(), wanted, allow_unused=True)
            return losses.detach(), dict(zip(self.trained, found, strict=True))

        program: Program = make_fx(compute)(self.leaves, z, labels)
        return program

    def _losses(self, leaves: dict[str, Tensor], z: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (M,) of all runs on their embeddings (M, B, D) and labels (M, B)."""
        stacked = {name: _transposed(leaf) for name, leaf in leaves.items()}
        losses: Tensor = vmap(lambda state, *batch: functional_call(self.loss, state, batch))(
            stacked, z, labels
        )
        return losses

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the embeddings (S, B, D) and labels (S, B) that a step of each seed sees."""
        epoch, index = divmod(step, self.first.per_epoch)
        size = self.first.recipe.batch_size
        part = slice(index * size, (index + 1) * size)
        if not all(training.features.finished for training in self.seeds):
            return self._gathered(epoch, part)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, *self._gathered(epoch, slice(None)))
        _, z, labels = self._epoch
        return z[:, part], labels[:, part]

    def _gathered(self, epoch: int, part: slice) -> tuple[Tensor, Tensor]:
        """Return embeddings and labels of a part of an epoch, in the order of each seed."""
        z, labels = [], []
        with autocast(self.device, self.first.precision):
            for training in self.seeds:
                order = epoch_order(training.seed, epoch, training.count)[part]
                z.append(training.features.batch(order, epoch).encoded().x)
                labels.append(rows_of(training.labels, order))
        return torch.stack(z), torch.stack(labels)

    def _slices(self) -> list[slice]:
        """Return the slices of the stack whose runs have the same recipe."""
        recipes = [run.training.recipe for run in self.runs]
        starts = [i for i in range(len(recipes)) if i == 0 or recipes[i] != recipes[i - 1]]
        return [slice(a, b) for a, b in pairwise([*starts, len(recipes)])]

    def _groups(self) -> list[dict[str, Any]]:
        """Return a head's groups for each recipe; their tensors share the memory of the stack."""
        names = {id(p): f"head.{name}" for name, p in self.first.head.named_parameters()}
        self.views: list[tuple[str, slice, nn.Parameter]] = []
        groups = []
        for index, part in enumerate(self.recipe_slices):
            recipe = self.runs[part.start].training.recipe
            own = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "slice": index}
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
        """Update the stack by its gradient, and return the rate of each recipe slice."""
        rates = [
            self._rate(self.runs[part.start].training.recipe, step) for part in self.recipe_slices
        ]
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["slice"]] * group.get("rate", 1.0)
        for name, part, view in self.views:
            gradient = gradients[name]
            view.grad = None if gradient is None else gradient[part]
        self.optimizer.step()
        return rates

    def _rate(self, recipe: Recipe, step: int) -> float:
        first = self.first
        return recipe.rate(step, first.total, first.per_epoch, first.plan.steps_scale)


def _transposed(stack: Tensor) -> Tensor:
    """Return a stack of matrices (M, R, C) as (M, C, R), and other stacks as they are."""
    return stack.mT if stack.dim() == 3 else stack
