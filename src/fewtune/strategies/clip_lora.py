"""CLIP-LoRA: low-rank updates of the attention matrices of both encoders.

Zanella and Ben Ayed, "Low-Rank Few-Shot Adaptation of Vision-Language Models", CVPR-W 2024. The
update is s * B A with s = alpha / sqrt(r) as in the authors' code; dropout acts on the branch's
input, independently for each matrix.

Differs from the authors' code: the model's logit scale is used instead of the constant 100 (equal
for OpenAI's weights); without dropout the branch form is kept (theirs has wrong gradients there);
similarity and loss are computed in fp32 instead of fp16.
"""

import math
from functools import partial
from typing import Any, Literal

from pydantic import Field

from fewtune.core.errors import ConfigError
from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.lora import LoraLinear
from fewtune.model.strategy import Strategy
from fewtune.model.towers import Tower

MATRICES = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}
Position = Literal["bottom", "mid", "up", "half-bottom", "half-up", "all"]


def positions(depth: int, position: Position) -> range:
    """Return the block indices of a position in a tower of `depth` blocks.

    For 12 blocks these are the authors' lists: bottom 0-3, mid 4-7, up 8-11, half-bottom 0-5,
    half-up 6-11.
    """
    third, two_thirds, half = round(depth / 3), round(2 * depth / 3), depth // 2
    return {
        "bottom": range(third),
        "mid": range(third, two_thirds),
        "up": range(two_thirds, depth),
        "half-bottom": range(half),
        "half-up": range(half, depth),
        "all": range(depth),
    }[position]


class ClipLora(Strategy):
    """Low-rank adaptation of the query, key and value matrices."""

    title = "CLIP-LoRA"
    citation = """@inproceedings{zanella2024cliplora,
  title = {Low-Rank Few-Shot Adaptation of Vision-Language Models},
  author = {Maxime Zanella and Ismail Ben Ayed},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition Workshops},
  year = {2024},
}"""
    recipe = Recipe(
        batch_size=32,
        optimizer="adamw",
        lr=2e-4,
        weight_decay=1e-2,
        schedule_unit="step",
        min_lr=1e-6,
        length=500,
        length_unit="steps-per-shot",
    )
    source = "authors' code"

    matrices: str = Field(
        "qkv", pattern="^[qkvo]+$", description="attention matrices: of q, k, v, o"
    )
    rank: int = Field(2, ge=1, le=1024, description="rank r of the update")
    alpha: float = Field(1.0, gt=0, description="numerator of the scale alpha / sqrt(r)")
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout on the input of the update")
    encoder: Literal["text", "vision", "both"] = Field("both", description="adapted encoders")
    position: Position = Field("all", description="adapted blocks")

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Put a low-rank layer in the place of each chosen matrix, text tower first."""
        scale = self.alpha / math.sqrt(self.rank)  # s of W + s * B A
        make: Any = partial(LoraLinear, rank=self.rank, scale=scale, dropout=self.dropout)
        for tower in self._towers(model):
            for index in positions(len(tower.blocks), self.position):
                for matrix in dict.fromkeys(self.matrices):
                    model.inject(f"{tower.blocks[index]}.self_attn.{MATRICES[matrix]}", make)
        return Head(model, classes, self.classifier)

    def _towers(self, model: DualEncoder) -> list[Tower]:
        if self.type == "vision":
            if self.encoder == "text":
                raise ConfigError(
                    "--encoder text has no effect with --type vision, which encodes no text.",
                    hint="Use --encoder vision, or --type vision-language.",
                )
            return [model.image]
        towers = {"text": [model.text], "vision": [model.image]}
        return towers.get(self.encoder, [model.text, model.image])
