"""A strategy of two phases, each of which reads what the phase before has learned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head, Output
from fewtune.model.strategy import Phase, Strategy


class ProbeHead(Head):
    """Moves class embeddings (C, D), towards what the tuned towers make of prompts and images."""

    class_bound = True
    means: Tensor

    def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
        super().__init__(model, classes)
        model.freeze()
        shape = (len(classes), model.dim)
        self.teacher = model.encode_frozen(self.prompts(classes)).embeddings()
        self.offset = nn.Parameter(torch.zeros(*shape))
        self.register_buffer("means", torch.zeros(*shape))

    def prepare(self, z: Tensor, labels: Tensor) -> None:
        self.means.index_add_(0, labels, F.normalize(z.mean(1), dim=-1))

    def text(self, w: Tensor, names: tuple[str, ...]) -> Tensor:
        return w + self.offset + 0.1 * self.means

    def loss(self, output: Output, labels: Tensor) -> Tensor:
        assert output.text is not None
        return super().loss(output, labels) + (output.text - self.teacher).square().mean()


class TwoPhases(Strategy):
    """Norms of the towers, then class embeddings on finished features."""

    title = "Two phases"
    recipe = Recipe(batch_size=4, lr=1e-2, length=4, views=2)
    types = ("vision-language",)
    starts_as_zero_shot = False

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        model.unfreeze("*norm*")
        return Head(model, classes)

    def phases(self, recipe: Recipe) -> tuple[Phase, ...]:
        def probe(model: DualEncoder, classes: ClassSet, before: Head | None) -> Head:
            return ProbeHead(model, classes)

        (first,) = super().phases(recipe)
        return first, Phase("probe", probe, recipe)
