"""VPT-deep: learned tokens next to the image tokens, replaced before every block.

Jia et al., "Visual Prompt Tuning", ECCV 2022, section 3.2 (VPT-Deep), on CLIP's image encoder.
Tokens get no positional embedding; a block's outputs at the prompt positions are discarded where
the next block has prompts of its own; the class token is pooled as before. They are appended at the
end: as nothing depends on the order of the other tokens, this equals their place after the class
token.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fewtune.core.errors import ConfigError
from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dropout import dropout
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.model.towers import TokenBatch


class PromptHead(Head):
    """Holds the prompts (depth, T, W) and hooks them into the image tower."""

    def __init__(self, model: DualEncoder, classes: ClassSet, strategy: VptDeep) -> None:
        super().__init__(model, classes, strategy.classifier)
        self.strategy = strategy
        tower = model.image
        self.depth = min(strategy.depth or len(tower.blocks), len(tower.blocks))
        width = strategy.projection or tower.width
        prompts = torch.empty(self.depth, strategy.tokens, width, device=model.device)
        if strategy.initialisation == "uniform":
            bound = math.sqrt(6 / (3 * tower.patch_px**2 + width))
            nn.init.uniform_(prompts, -bound, bound)
        else:
            nn.init.normal_(prompts, std=0.02)
        self.tokens = nn.Parameter(prompts)
        self.project: nn.Module = nn.Identity()
        if strategy.projection:
            self.project = nn.Linear(width, tower.width, device=model.device)
            nn.init.kaiming_normal_(self.project.weight, a=0, mode="fan_out")
        if strategy.tokens:
            first = "norm" if strategy.insert == "before-norm" else "block.0"
            for layer in range(self.depth):
                stage = f"block.{layer}" if layer else first
                model.add_hook(tower, stage, partial(self._insert, layer))

    def _insert(self, layer: int, x: Tensor, rows: TokenBatch | None) -> Tensor:
        """Return [x_i, E_i, P_i]; what the block before made of its prompts is discarded."""
        prompts = self.project(self.tokens[layer])
        prompts = prompts.expand(x.shape[0], *prompts.shape)
        prompts = dropout(prompts, self.strategy.dropout, self.training).to(x.dtype)
        kept = x[:, : -self.strategy.tokens] if layer else x
        return torch.cat([kept, prompts], dim=1)


class VptDeep(Strategy):
    """Prompt tokens before every block of the image encoder."""

    title = "VPT-deep"
    citation = """@inproceedings{jia2022vpt,
  title = {Visual Prompt Tuning},
  author = {Menglin Jia and Luming Tang and Bor-Chun Chen and Claire Cardie and Serge Belongie and
    Bharath Hariharan and Ser-Nam Lim},
  booktitle = {European Conference on Computer Vision},
  year = {2022},
}"""
    recipe = Recipe(batch_size=32, optimizer="adamw", lr=1e-2, weight_decay=1e-2, length=50)
    starts_as_zero_shot = False

    tokens: int = Field(8, ge=0, le=1024, description="prompt tokens T per block")
    depth: int = Field(0, ge=0, description="blocks with prompts of their own; 0: all")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the prompts")
    projection: int = Field(
        0, ge=0, description="width of the prompts before a shared linear projection; 0: none"
    )
    initialisation: Literal["uniform", "normal"] = Field(
        "uniform", description="uniform (VPT) or normal with deviation 0.02 (MaPLe)"
    )
    insert: Literal["before-norm", "after-norm"] = Field(
        "after-norm", description="enter before or after the tower's first norm"
    )

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Hook the prompts into the image tower."""
        if self.depth > len(model.image.blocks):
            raise ConfigError(
                f"--depth {self.depth} is more than the {len(model.image.blocks)} blocks of "
                f"{model.name}.",
                hint="Use --depth 0 for all blocks.",
            )
        return PromptHead(model, classes, self)
