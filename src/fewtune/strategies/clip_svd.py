"""CLIP-SVD: the singular values of every matrix in the blocks of both encoders are trained.

Koleilat et al., "Singular Value Few-shot Adaptation of Vision-Language Models", arXiv 2509.03740,
2025: each weight is decomposed, W = U diag(s) V^T, and only s is trained; the matrices are
those of query, key, value and output and both of the MLP. Biases, norms, embeddings and projections
stay. Weight decay pulls s towards 0, as in the authors' code.

Differs from the authors' code: W is put together once a step instead of sending every token through
U and V^T (equal, and fewer products); similarity and loss are computed in fp32. A class with fewer
images than shots is drawn by this package's rule.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.injected import Injected
from fewtune.model.strategy import Strategy

ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
MATRICES = (*(f"self_attn.{name}" for name in ATTENTION), "mlp.fc1", "mlp.fc2")


class SvdLinear(Injected):
    """y = U diag(s) V^T x + b, where s (min(out, in),) is trained."""

    U: Tensor
    V: Tensor
    base: nn.Linear

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        # In double precision, so that close singular values have the same vectors on every machine.
        u, s, v = torch.linalg.svd(base.weight.detach().double(), full_matrices=False)
        self.register_buffer("U", u.float(), persistent=False)
        self.register_buffer("V", v.float(), persistent=False)
        self.s = nn.Parameter(s.float())

    def weight(self) -> Tensor:
        """Return U diag(s) V^T: (out, in)."""
        return (self.U * self.s) @ self.V

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (..., in) -> (..., out)."""
        return F.linear(x, self.weight(), self.base.bias)

    def merged(self) -> nn.Linear:
        """Return one plain layer."""
        layer = nn.Linear(self.base.in_features, self.base.out_features, device="meta")
        layer.weight = nn.Parameter(self.weight().detach(), requires_grad=False)
        layer.bias = nn.Parameter(self.base.bias.detach().clone(), requires_grad=False)
        return layer.eval()


class ClipSvd(Strategy):
    """Existing singular values are trained; no parameter is added."""

    title = "CLIP-SVD"
    citation = """@misc{koleilat2025clipsvd,
  title = {Singular Value Few-shot Adaptation of Vision-Language Models},
  author = {Taha Koleilat and Hassan Rivaz and Yiming Xiao},
  howpublished = {arXiv:2509.03740},
  year = {2025},
}"""
    recipe = Recipe(
        optimizer="adamw",
        lr=5e-4,
        weight_decay=1e-2,
        min_lr=1e-6,
        length=200,
        length_unit="steps-per-shot",
    )
    source = "authors' code"

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Decompose every matrix of the blocks of the towers that are used."""
        make: Any = SvdLinear
        towers = [model.image] if self.type == "vision" else [model.text, model.image]
        for tower in towers:
            for block, matrix in product(tower.blocks, MATRICES):
                model.inject(f"{block}.{matrix}", make)
        return Head(model, classes, self.classifier)
