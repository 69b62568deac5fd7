"""CLIPFit: train the biases of the text MLPs' second layers and the image LayerNorms.

Li et al., "Vision-Language Model Fine-Tuning via Simple Parameter-Efficient Modification", EMNLP
2024: L = cross-entropy + lambda * (1 - mean_k cos(t_k, t_k^0)), where t_k^0 is the embedding of
class k before tuning.

Differs from the authors' code: the teacher's embeddings are computed in the working precision
(theirs stay in fp16, so their term starts at -1.6e-4 instead of 0), and the term is not dropped
under mixed precision.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head, Output
from fewtune.model.strategy import Strategy

BIASES = {
    "none": (),
    "fc1": ("mlp.fc1.bias",),
    "fc2": ("mlp.fc2.bias",),
    "qkv": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
    "out": ("self_attn.out_proj.bias",),
    "mlp": ("mlp.*.bias",),
    "all": ("mlp.*.bias", "self_attn.*.bias"),
}
TOWERS = {"none": (), "image": ("image",), "text": ("text",), "both": ("image", "text")}


class ClipFitHead(Head):
    """Zero-shot CLIP with a penalty on leaving the starting point."""

    def __init__(
        self, model: DualEncoder, classes: ClassSet, strategy: ClipFit, teacher: Tensor | None
    ) -> None:
        super().__init__(model, classes, strategy.classifier)
        self.strategy = strategy
        self.teacher = teacher

    def loss(self, output: Output, labels: Tensor) -> Tensor:
        """Return cross-entropy plus lambda times the chosen regulariser, a scalar."""
        loss = super().loss(output, labels)
        if self.strategy.lambda_ == 0 or self.strategy.regulariser == "none":
            return loss
        if self.strategy.regulariser == "squared":
            return loss + self.strategy.lambda_ * self.squared_change()
        if output.text is None or self.teacher is None:
            return loss
        similarity = F.cosine_similarity(output.text.float(), self.teacher, dim=-1, eps=1e-7)
        # lambda * (1 - mean_k cos(t_k, t_k^0))
        return loss + self.strategy.lambda_ * (1 - similarity.mean())

    def squared_change(self) -> Tensor:
        """Return how far the trained parameters have moved, a scalar.

        For each group (biases of linear layers, norm weights, norm biases) the mean over tensors of
        sum((w - w0)^2); then the sum over the groups.
        """
        groups: dict[str, list[Tensor]] = {}
        for name, parameter in self.model.tuned().items():
            kind = "norm" if "norm" in name else "linear"
            change = (parameter - self.model.initial[name].to(parameter.device)).square().sum()
            groups.setdefault(f"{kind}.{name.rpartition('.')[2]}", []).append(change)
        return torch.stack([torch.stack(changes).mean() for changes in groups.values()]).sum()


class ClipFit(Strategy):
    """Existing biases and norms are trained; no parameter is added."""

    title = "CLIPFit"
    citation = """@inproceedings{li2024clipfit,
  title = {Vision-Language Model Fine-Tuning via Simple Parameter-Efficient Modification},
  author = {Ming Li and Jike Zhong and Chenxin Li and Liuzhuozheng Li and Nie Lin and
    Masashi Sugiyama},
  booktitle = {Conference on Empirical Methods in Natural Language Processing},
  year = {2024},
}"""
    recipe = Recipe(
        batch_size=32,
        drop_last=True,
        optimizer="sgd",
        lr=2e-3,
        weight_decay=5e-4,
        momentum=0.9,
        schedule_unit="epoch",
        warmup=1,
        warmup_lr=1e-5,
        length=100,
    )
    source = "authors' code"

    biases: Literal["none", "fc1", "fc2", "qkv", "out", "mlp", "all"] = Field(
        "fc2", description="biases of the blocks that are trained"
    )
    bias_towers: Literal["text", "image", "both"] = Field(
        "text", description="towers whose biases are trained (paper: text)"
    )
    norms: Literal["none", "image", "text", "both"] = Field(
        "image", description="towers whose LayerNorms are trained"
    )
    lambda_: float = Field(
        8.0,
        ge=0,
        description="weight of the regulariser (paper, few-shot: 8 on DTD and SUN397, "
        "2 on the other nine datasets; base-to-new: 8)",
    )
    regulariser: Literal["cosine", "squared", "none"] = Field(
        "cosine",
        description="keep class embeddings (cosine) or parameters (squared) near the start",
    )

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Unfreeze the chosen biases and norms; keep the starting class embeddings as teacher."""
        with_text = self.type == "vision-language"
        head = ClipFitHead(model, classes, self, None)
        if with_text and self.regulariser == "cosine":
            head.teacher = model.class_embeddings(classes)  # t^0
        towers = {"image": model.image, "text": model.text} if with_text else {"image": model.image}
        norms = [towers[name] for name in TOWERS[self.norms] if name in towers]
        biased = [towers[name] for name in TOWERS[self.bias_towers] if name in towers]
        globs = [f"{tower.prefix}.*norm*" for tower in norms]
        for tower in biased:
            globs += [f"{block}.{bias}" for block in tower.blocks for bias in BIASES[self.biases]]
        model.unfreeze(*globs)
        return head
