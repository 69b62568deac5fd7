"""Strategies with one mistake each, to see that the contract names it."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head, Output
from fewtune.model.strategy import Phase, Strategy
from fewtune.model.towers import TokenBatch


class ScaledHead(Head):
    """A sound head: a factor for each dimension of the image embedding."""

    def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
        super().__init__(model, classes)
        self.factor = nn.Parameter(torch.ones(model.dim))

    def image(self, z: Tensor) -> Tensor:
        return self.factor * z


class Sound(Strategy):
    """Keeps every promise; the others break one."""

    title = "Sound"
    recipe = Recipe(batch_size=8, lr=1e-2, length=4)
    types = ("vision-language",)
    head: ClassVar[type[Head]] = ScaledHead

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        return self.head(model, classes)


class BatchCentred(Sound):
    class Centred(ScaledHead):
        def image(self, z: Tensor) -> Tensor:
            return self.factor * (z - 0.1 * z.mean(0))

    head = Centred


class PromptsMixed(Sound):
    class Mixed(ScaledHead):
        def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
            super().__init__(model, classes)
            model.add_hook(model.text, "block.1", lambda x, rows: x + 0.3 * x.mean(0))

    head = Mixed


class TorchDropout(Sound):
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the embedding")

    class Dropped(ScaledHead):
        p = 0.0

        def image(self, z: Tensor) -> Tensor:
            return nn.functional.dropout(self.factor * z, self.p, self.training)

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        head = self.Dropped(model, classes)
        head.p = self.dropout
        return head


class LossOfPairs(Sound):
    class Paired(ScaledHead):
        def loss(self, output: Output, labels: Tensor) -> Tensor:
            return super().loss(output, labels) + output.image.std(0).sum()

    head = Paired


class ByHand(Sound):
    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        model.net.get_parameter("visual_projection.weight").requires_grad_(True)
        return ScaledHead(model, classes)


class NeverFits(Sound):
    class Unfitted(Head):
        means: Tensor

        def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
            super().__init__(model, classes)
            self.register_buffer("means", torch.zeros(len(classes), model.dim))

    recipe = Recipe(length=0)
    head = Unfitted


class FitsInOrder(Sound):
    """Takes the first image that comes for each class' mean, by a list of its own."""

    class Listed(NeverFits.Unfitted):
        class_bound = True

        def prepare(self, z: Tensor, labels: Tensor) -> None:
            self.means.copy_(z.mean(1)[: len(self.means)])

        def text(self, w: Tensor, names: tuple[str, ...]) -> Tensor:
            return w + self.means

    recipe = Recipe(length=0)
    head = Listed


class NoRecipe(Sound):
    recipe = None


class ListOption(Sound):
    layers: list[int] = Field([], description="blocks")


class TakenName(Sound):
    shots: int = Field(1, ge=1, description="another number of images")


class TakenInRecipe(Sound):
    momentum_: float = Field(0.5, ge=0, description="another momentum")


class Longer(Sound):
    class Prepended(ScaledHead):
        def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
            super().__init__(model, classes)
            model.add_hook(model.text, "block.0", self._insert)

        def _insert(self, x: Tensor, rows: TokenBatch | None) -> Tensor:
            return torch.cat([x[:, :1], x], dim=1)

    head = Prepended


class Shifted(Sound):
    class Moved(Longer.Prepended):
        def _insert(self, x: Tensor, rows: TokenBatch | None) -> Tensor:
            return torch.cat([x[:, :1], x[:, :-1]], dim=1)

    head = Moved


class ShiftedBack(Sound):
    class Dropped(Longer.Prepended):
        def _insert(self, x: Tensor, rows: TokenBatch | None) -> Tensor:
            return torch.cat([x[:, :3], x[:, 4:], x[:, -1:]], dim=1)

    head = Dropped


class IdleInPhaseTwo(Sound):
    class Idle(ScaledHead):
        def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
            super().__init__(model, classes)
            self.idle = nn.Parameter(torch.zeros(3))

    def phases(self, recipe: Recipe) -> tuple[Phase, ...]:
        second = Phase("second", lambda model, classes, _: self.Idle(model, classes), recipe)
        return (*super().phases(recipe), second)


class Raises(Sound):
    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        raise KeyError("scale")
