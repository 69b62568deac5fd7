"""CoCoOp: learned vectors around the class name, shifted by what a small network sees in the image.

Zhou et al., "Conditional Prompt Learning for Vision-Language Models", CVPR 2022, section 3.2: the
prompt of class i for image x is [V]_1 + pi ... [V]_M + pi [CLASS] and a full stop, where
pi = W2 ReLU(W1 z + b1) + b2 for the normalised image embedding z, with a hidden layer of a
sixteenth of its width. Each image has class embeddings of its own.

Differs from the authors' code: the B x C prompts of a batch go through the text tower in pieces
(theirs: the C prompts of one image at a time, padded to 77 tokens), with equal logits; similarity
and loss are computed in fp32 instead of fp16.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.towers import TokenBatch
from fewtune.strategies.coop import ContextHead, CoOp


class ConditionalHead(ContextHead):
    """Holds the context and the network that shifts it."""

    conditional = True

    def __init__(self, model: DualEncoder, classes: ClassSet, strategy: CoCoOp) -> None:
        super().__init__(model, classes, strategy)
        hidden = max(1, model.dim // strategy.reduction)
        self.down = nn.Linear(model.dim, hidden, device=model.device)
        self.up = nn.Linear(hidden, model.text.width, device=model.device)

    def condition(self, z: Tensor) -> Tensor:
        """Return pi of images: (B, D) -> (B, W)."""
        shift: Tensor = self.up(torch.relu(self.down(F.normalize(z, dim=-1))))
        return shift

    def vectors(self, rows: TokenBatch) -> Tensor:
        """Return the context of each prompt, shifted by its image's pi: (P, M, W)."""
        assert rows.given is not None
        return super().vectors(rows) + rows.given[:, None]


class CoCoOp(CoOp):
    """Context vectors that depend on the image are trained at the input of the text encoder."""

    title = "CoCoOp"
    citation = """@inproceedings{zhou2022cocoop,
  title = {Conditional Prompt Learning for Vision-Language Models},
  author = {Kaiyang Zhou and Jingkang Yang and Chen Change Loy and Ziwei Liu},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2022},
}"""
    recipe = CoOp.recipe.model_copy(update={"batch_size": 1, "length": 10})

    tokens: int = Field(4, ge=1, le=64, description="context vectors M")
    reduction: int = Field(
        16, ge=1, le=64, description="width of the embedding over the hidden one"
    )

    def recipe_for(self, shots: int | None) -> Recipe:
        """Return the authors' recipe, the same for any number of shots."""
        return self.recipe

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Hook the context into the text tower."""
        return ConditionalHead(model, classes, self)
