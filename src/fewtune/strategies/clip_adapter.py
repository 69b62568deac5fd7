"""CLIP-Adapter: a bottleneck network on the image embedding, blended with the embedding itself.

Gao et al., "CLIP-Adapter: Better Vision-Language Models with Feature Adapters", IJCV 2024:
z' = a * ReLU(W2 ReLU(W1 z)) + (1 - a) * z, both layers without bias, on the unnormalised
embedding. The authors' code has no text adapter, and neither has this.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy


class AdapterHead(Head):
    """Blends the image embedding with its adapted version."""

    def __init__(self, model: DualEncoder, classes: ClassSet, strategy: ClipAdapter) -> None:
        super().__init__(model, classes, strategy.classifier)
        self.ratio = strategy.ratio
        hidden = max(1, model.dim // strategy.reduction)
        self.down = nn.Linear(model.dim, hidden, bias=False, device=model.device)
        self.up = nn.Linear(hidden, model.dim, bias=False, device=model.device)

    def image(self, z: Tensor) -> Tensor:
        """Return a * A(z) + (1 - a) * z, where a is the ratio: (B, D) -> (B, D)."""
        adapted = torch.relu(self.up(torch.relu(self.down(z))))  # A(z) = ReLU(W2 ReLU(W1 z))
        return self.ratio * adapted + (1 - self.ratio) * z


class ClipAdapter(Strategy):
    """A two-layer adapter on image features."""

    title = "CLIP-Adapter"
    citation = """@article{gao2024clipadapter,
  title = {{CLIP-Adapter}: Better Vision-Language Models with Feature Adapters},
  author = {Peng Gao and Shijie Geng and Renrui Zhang and Teli Ma and Rongyao Fang and
    Yongfeng Zhang and Hongsheng Li and Yu Qiao},
  journal = {International Journal of Computer Vision},
  volume = {132},
  year = {2024},
}"""
    recipe = Recipe(batch_size=32, lr=1e-2, weight_decay=1e-4, length=50, views=8, crop_scale=0.5)
    starts_as_zero_shot = False

    reduction: int = Field(4, ge=1, le=64, description="width of the embedding over the hidden one")
    ratio: float = Field(0.2, ge=0, le=1, description="share of the adapted embedding")

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Add the adapter."""
        return AdapterHead(model, classes, self)
