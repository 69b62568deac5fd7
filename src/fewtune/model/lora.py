"""A linear layer with a low-rank update (Hu et al., LoRA, 2022, eq. 3)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fewtune.model.dropout import keep_mask, rounded
from fewtune.model.injected import Injected


class LoraLinear(Injected):
    """y = W x + b + s * B A drop(x), with W and b frozen.

    A starts as U(-1/sqrt(in), 1/sqrt(in)) (Kaiming with a = sqrt(5)) and B as zero, so the layer
    starts as the original one.

    Args:
        base: The frozen layer, weight (out, in).
        rank: r; A is (r, in), B is (out, r).
        scale: s.
        dropout: Probability of zeroing an element of the branch's input, in training only;
            rounded to a multiple of 1/256.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float, dropout: float) -> None:
        super().__init__(base, dropout)
        self.base: nn.Linear
        self.scale = scale
        device = base.weight.device
        self.A = nn.Parameter(torch.empty(rank, base.in_features, device=device))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank, device=device))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (..., in) -> (..., out)."""
        keep, scale = None, self.scale
        if self.training:
            keep = keep_mask(x.shape, self.dropout, x.device)
            scale /= 1 - rounded(self.dropout)
        base: Tensor = self.base(x)
        update: Tensor = _Update.apply(x, keep, self.A, self.B, scale, base.dtype)
        return base + update

    def merged(self) -> nn.Linear:
        """Return one plain layer with the weight W + s * B A."""
        layer = nn.Linear(self.base.in_features, self.base.out_features, device="meta")
        with torch.no_grad():
            weight = self.base.weight + self.scale * (self.B @ self.A)
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layer.bias = nn.Parameter(self.base.bias.detach().clone(), requires_grad=False)
        return layer.eval()


class _Update(torch.autograd.Function):
    """scale * B A (x * keep), with what autograd would do slowly done by hand.

    Kept for the gradient are x, which all matrices of an attention share, and the mask as bytes,
    instead of a masked copy of x a matrix. Products with r columns are written as products with r
    rows, which CPUs compute several times faster.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        keep: Tensor | None,
        A: Tensor,
        B: Tensor,
        scale: float,
        dtype: torch.dtype,
    ) -> Tensor:
        """Return the update (..., out) in `dtype`, that of the layer under autocast."""
        inner = scale * F.linear(_masked(x, keep, dtype), A.to(dtype))
        ctx.save_for_backward(x, keep, A, B, inner)
        ctx.scale = scale
        return F.linear(inner, B.to(dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, A and B."""
        x, keep, A, B, inner = ctx.saved_tensors
        grad_inner = ctx.scale * F.linear(grad, B.to(grad.dtype).t().contiguous())
        rows = _masked(x, keep, grad.dtype).flatten(0, -2)
        grad_a = grad_inner.flatten(0, -2).t() @ rows
        grad_b = (inner.flatten(0, -2).t() @ grad.flatten(0, -2)).t()
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = _masked(grad_inner @ A.to(grad.dtype), keep, x.dtype)
        return grad_x, None, grad_a.to(A.dtype), grad_b.to(B.dtype), None, None


def _masked(x: Tensor, keep: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return x * keep in `dtype`; converting the mask first is what is fast on a CPU."""
    return x.to(dtype) if keep is None else keep.to(dtype).mul_(x.to(dtype))
