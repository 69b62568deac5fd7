"""Tip-Adapter: a cache of training features votes next to the class prompts; nothing is trained.

Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", ECCV 2022,
eq. 3 to 6: logits = scale * f W^T + alpha * exp(-beta * (1 - f F^T)) L. The keys F are the
features of the training images, averaged over ten views and normalised, the values L their one-hot
labels.

Alpha and beta are searched on the validation split, on the authors' grid of 20 x 200 values, where
ties go to the smaller beta, then alpha. The limits of the grid are the medians of the authors'
limits for eleven datasets (12 for beta, 10 for alpha). Without a validation split the authors'
starting values for ImageNet stay: alpha 1.17, beta 1.

Differs from the authors' code: on ImageNet it searches on the test images, elsewhere on a whole
validation split; here only on the validation images that were drawn. The scale is the model's
instead of the constant 100 (equal for OpenAI's weights), in fp32 instead of fp16.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head, Output
from fewtune.model.strategy import Strategy
from fewtune.model.towers import Activations

ALPHAS, BETAS = 20, 200
LEAST = 0.1


class CacheHead(Head):
    """Holds keys (N, D), their labels (N,), alpha and beta."""

    class_bound = True
    keys: Tensor
    values: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(
        self, model: DualEncoder, classes: ClassSet, strategy: TipAdapter, *, trained: bool
    ) -> None:
        super().__init__(model, classes, strategy.classifier)
        self.limits = (strategy.alpha_limit, strategy.beta_limit)
        size, device = sum(classes.counts), model.device
        keys = torch.zeros(size, model.dim, device=device)
        if trained:
            self.keys = nn.Parameter(keys)
        else:
            self.register_buffer("keys", keys)
        self.register_buffer("values", torch.zeros(size, dtype=torch.long, device=device))
        self.register_buffer("alpha", torch.tensor(strategy.alpha, device=device))
        self.register_buffer("beta", torch.tensor(strategy.beta, device=device))

    @torch.no_grad()
    def prepare(self, z: Tensor, labels: Tensor) -> None:
        """Fill the cache from views (N, V, D): their mean, then normalised."""
        # F and L of eq. 3 to 6
        self.keys.copy_(F.normalize(z.float().mean(1), dim=-1))
        self.values.copy_(labels)

    def forward(self, images: Activations, classes: Activations | None) -> Output:
        """Add the cache's votes to zero-shot CLIP's logits: f W^T + alpha * votes."""
        output = super().forward(images, classes)
        with torch.autocast(output.image.device.type, enabled=False):
            votes = self.votes(self.affinity(output.image), self.beta)
            # eq. 6
            return Output(output.logits + self.alpha * votes, output.image, output.text)

    def affinity(self, z: Tensor) -> Tensor:
        """Return the similarity of images (B, D) and keys, f F^T: (B, N)."""
        return F.normalize(z.float(), dim=-1) @ self.keys.T

    def votes(self, affinity: Tensor, beta: Tensor) -> Tensor:
        """Return exp(-beta * (1 - affinity)) L: (B, N) -> (B, C)."""
        labels = F.one_hot(self.values, len(self.classes)).to(affinity.dtype)  # L
        return (-beta * (1 - affinity)).exp() @ labels

    def tune_on_validation(
        self, images: Activations, classes: Activations | None, labels: Tensor
    ) -> None:
        """Choose alpha and beta by accuracy on N validation images (N, D)."""
        output = super().forward(images, classes)
        alphas, betas = (
            LEAST + torch.arange(count, device=labels.device) * (limit - LEAST) / count
            for count, limit in zip((ALPHAS, BETAS), self.limits, strict=True)
        )
        best = -1
        with torch.autocast(labels.device.type, enabled=False):
            affinity = self.affinity(output.image)
            for beta in betas:
                votes = self.votes(affinity, beta)
                logits = output.logits + alphas[:, None, None] * votes
                hits = (logits.argmax(2) == labels).sum(1).tolist()
                if max(hits) > best:
                    best = max(hits)
                    self.alpha.copy_(alphas[hits.index(best)])
                    self.beta.copy_(beta)


class TipAdapter(Strategy):
    """Training features are kept and compared with; no gradient step is made."""

    title = "Tip-Adapter"
    citation = """@inproceedings{zhang2022tipadapter,
  title = {{Tip-Adapter}: Training-Free Adaption of {CLIP} for Few-Shot Classification},
  author = {Renrui Zhang and Wei Zhang and Rongyao Fang and Peng Gao and Kunchang Li and
    Jifeng Dai and Yu Qiao and Hongsheng Li},
  booktitle = {European Conference on Computer Vision},
  year = {2022},
}"""
    recipe = Recipe(length=0, views=10, crop_scale=0.5)
    source = "authors' code"
    uses = (
        "training labels, drawn validation labels, class prompts (published: whole "
        "validation split; ImageNet: test labels)"
    )
    types = ("vision-language",)
    starts_as_zero_shot = False

    alpha: float = Field(1.17, ge=0, le=1000, description="weight of the votes, before the search")
    beta: float = Field(1.0, gt=0, le=1000, description="sharpness of the votes, before the search")
    alpha_limit: float = Field(10.0, gt=LEAST, le=1000, description="end of the search for alpha")
    beta_limit: float = Field(12.0, gt=LEAST, le=1000, description="end of the search for beta")

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Make room for the cache."""
        return CacheHead(model, classes, self, trained=False)
