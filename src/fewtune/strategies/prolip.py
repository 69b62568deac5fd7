"""ProLIP: the projection of the image encoder is trained, with a penalty on leaving its start.

Fahes et al., "CLIP's Visual Embedding Projector is a Few-shot Cornucopia", arXiv 2410.05270, 2024:
L = cross-entropy + lambda * ||W - W_0||_F^2, where W maps the last features of the encoder
into the joint space. Without validation images, lambda is 1 over the images per class.

As in the authors' code, 300 full-batch steps of Adam (epsilon 1e-4) go through 300 views of every
image, each encoded once. Differs from it: where the projection is an attention pool's (ResNets),
nothing is offered; the test accuracy is never looked at.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head, Output
from fewtune.model.strategy import Strategy

EPS = 1e-4
ALL_IMAGES = 1 << 20  # a batch that holds them all


class ProjectionHead(Head):
    """Zero-shot CLIP with a penalty on a projection (D, W) that moves."""

    def __init__(self, model: DualEncoder, classes: ClassSet, strategy: ProLip) -> None:
        super().__init__(model, classes, strategy.classifier)
        (self.name,) = model.unfreeze(f"{model.image.projection}.weight")
        per_class = sum(classes.counts) / len(classes)
        self.lambda_ = 1 / max(per_class, 1) if strategy.lambda_ is None else strategy.lambda_

    def loss(self, output: Output, labels: Tensor) -> Tensor:
        """Return cross-entropy plus the penalty, a scalar."""
        start = self.model.initial[self.name].to(labels.device)
        moved = (self.model.tuned()[self.name] - start).square().sum()
        return super().loss(output, labels) + self.lambda_ * moved

    def groups(self, parameters: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
        """Return one group, with the authors' epsilon."""
        return [{"params": list(parameters.values()), "eps": EPS}]


class ProLip(Strategy):
    """One existing matrix is trained; no parameter is added."""

    title = "ProLIP"
    citation = """@misc{fahes2024prolip,
  title = {{CLIP}'s Visual Embedding Projector is a Few-shot Cornucopia},
  author = {Mohammad Fahes and Tuan-Hung Vu and Andrei Bursuc and Patrick P{\\'e}rez and
    Raoul de Charette},
  howpublished = {arXiv:2410.05270},
  year = {2024},
}"""
    recipe = Recipe(
        batch_size=ALL_IMAGES, optimizer="adam", lr=1e-5, length=300, views=300, crop_scale=0.5
    )
    source = "authors' code"
    types = ("vision-language",)

    lambda_: float | None = Field(
        None, ge=0, le=1000, description="weight of the penalty; none: 1 over the images per class"
    )

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Unfreeze the projection."""
        return ProjectionHead(model, classes, self)
