"""Scale and shift: a factor and an offset for each dimension of the image embedding.

Lian et al., "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", NeurIPS
2022: y = gamma * x + beta, element by element.

Differs from the paper: only the projected embedding is scaled and shifted (theirs: the output of
every operation of the encoder), and gamma and beta start at exactly 1 and 0 (theirs: near them).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Classifier, Head
from fewtune.model.strategy import Strategy


class ScaledHead(Head):
    """Holds gamma (D,) and beta (D,)."""

    def __init__(self, model: DualEncoder, classes: ClassSet, classifier: Classifier) -> None:
        super().__init__(model, classes, classifier)
        self.gamma = nn.Parameter(torch.ones(model.dim, device=model.device))
        self.beta = nn.Parameter(torch.zeros(model.dim, device=model.device))

    def image(self, z: Tensor) -> Tensor:
        """Return gamma * z + beta: (B, D) -> (B, D)."""
        return self.gamma * z + self.beta


class ScaleAndShift(Strategy):
    """A factor and an offset for each dimension of the image embedding."""

    title = "SSF on the embedding"
    citation = """@inproceedings{lian2022ssf,
  title = {Scaling \\& Shifting Your Features: A New Baseline for Efficient Model Tuning},
  author = {Dongze Lian and Daquan Zhou and Jiashi Feng and Xinchao Wang},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2022},
}"""
    recipe = Recipe(batch_size=32, lr=1e-3, length=50)

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Add gamma and beta."""
        return ScaledHead(model, classes, self.classifier)
