"""GDA: a Gaussian classifier of training features, added to the class prompts; nothing is trained.

Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation", ICLR 2024:
classes are Gaussians with means mu_c and one covariance S, so logits = scale * f t^T +
alpha * (f W + b) with W = P mu^T and b_c = log(1 / C) - mu_c^T P mu_c / 2. P is the inverse of S,
shrunk towards its trace: P = d * ((n - 1) S + tr(S) I)^-1 for n features of d dimensions.

The features are ten augmented views of each image, normalised and kept apart, as in the authors'
code. Alpha is the best of seven powers of ten on the validation images, the first of equal ones.

Differs from the authors' code: it searches alpha on a whole validation split, on ImageNet on the
test images; here only on the validation images that were drawn, and without any alpha stays 1. The
scale is the model's instead of 100. Their classifier of new classes is not offered.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head, Output
from fewtune.model.strategy import Strategy
from fewtune.model.towers import Activations
from fewtune.strategies.tip_adapter import TipAdapter

ALPHAS = tuple(10.0**power for power in range(-4, 3))


class GaussianHead(Head):
    """Holds W as (C, D), b (C,) and alpha."""

    class_bound = True
    weight: Tensor
    bias: Tensor
    alpha: Tensor

    def __init__(self, model: DualEncoder, classes: ClassSet, strategy: Gda) -> None:
        super().__init__(model, classes, strategy.classifier)
        count, device = len(classes), model.device
        self.register_buffer("weight", torch.zeros(count, model.dim, device=device))
        self.register_buffer("bias", torch.zeros(count, device=device))
        self.register_buffer("alpha", torch.tensor(strategy.alpha, device=device))

    @torch.no_grad()
    def prepare(self, z: Tensor, labels: Tensor) -> None:
        """Fit means and covariance to views (N, V, D), whose labels are (N,)."""
        x = F.normalize(z.float(), dim=-1).flatten(0, 1)
        of = labels.repeat_interleave(z.shape[1])
        count = F.one_hot(of, len(self.classes)).to(x)
        mu = count.T @ x / count.sum(0)[:, None]
        scatter = (x - mu[of]).T @ (x - mu[of])  # (n - 1) S
        shrunk = scatter + scatter.trace() / (len(x) - 1) * torch.eye(x.shape[1]).to(x)
        weight = x.shape[1] * torch.linalg.solve(shrunk.double(), mu.T.double()).float()  # P mu^T
        self.weight.copy_(weight.T)
        self.bias.copy_(-math.log(len(mu)) - (mu * weight.T).sum(1) / 2)

    def forward(self, images: Activations, classes: Activations | None) -> Output:
        """Add the Gaussians' scores to zero-shot CLIP's."""
        output = super().forward(images, classes)
        with torch.autocast(output.image.device.type, enabled=False):
            f = F.normalize(output.image.float(), dim=-1)
            scores = f @ self.weight.T + self.bias
            return Output(output.logits + self.alpha * scores, output.image, output.text)

    def tune_on_validation(
        self, images: Activations, classes: Activations | None, labels: Tensor
    ) -> None:
        """Choose alpha by accuracy on N validation images (N, D)."""
        hits = []
        for alpha in ALPHAS:
            self.alpha.fill_(alpha)
            hits.append(int((self(images, classes).logits.argmax(1) == labels).sum()))
        self.alpha.fill_(ALPHAS[hits.index(max(hits))])


class Gda(Strategy):
    """Gaussian discriminant analysis on features, next to class prompts."""

    title = "GDA"
    citation = """@inproceedings{wang2024gda,
  title = {A Hard-to-Beat Baseline for Training-free {CLIP}-based Adaptation},
  author = {Zhengbo Wang and Jian Liang and Lijun Sheng and Ran He and Zilei Wang and Tieniu Tan},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
}"""
    recipe = TipAdapter.recipe
    source = "authors' code"
    uses = TipAdapter.uses
    types = ("vision-language",)

    alpha: float = Field(
        1.0, ge=0, le=1000, description="weight of the Gaussians, before the search"
    )

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Make room for the classifier."""
        return GaussianHead(model, classes, self)
