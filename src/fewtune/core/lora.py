"""A linear layer with a low-rank update (Hu et al., LoRA, 2022, eq. 3)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LoraLinear(nn.Module):
    """y = W x + b + s * B A drop(x), with W and b frozen.

    A starts as U(-1/sqrt(in), 1/sqrt(in)) (Kaiming with a = sqrt(5)) and B as zero, so the layer
    starts as the original one.

    Args:
        base: The frozen layer, weight (out, in).
        rank: r; A is (r, in), B is (out, r).
        scale: s.
        dropout: Probability of zeroing an element of the branch's input, in training only.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.dropout = dropout
        device = base.weight.device
        self.A = nn.Parameter(torch.empty(rank, base.in_features, device=device))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank, device=device))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (..., in) -> (..., out)."""
        branch = F.dropout(x, self.dropout, self.training)
        base: Tensor = self.base(x)
        return base + self.scale * F.linear(F.linear(branch, self.A), self.B)

    def merged(self) -> nn.Linear:
        """Return one plain layer with the weight W + s * B A."""
        layer = nn.Linear(self.base.in_features, self.base.out_features, device="meta")
        with torch.no_grad():
            weight = self.base.weight + self.scale * (self.B @ self.A)
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layer.bias = nn.Parameter(self.base.bias.detach().clone(), requires_grad=False)
        return layer.eval()
