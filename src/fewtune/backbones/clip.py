"""The two towers of a transformers CLIPModel as lists of stages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fewtune.backbones.checkpoint import Checkpoint, load_checkpoint
from fewtune.core.model import DualEncoder, Rows, Run, Stage, Tower


class _ClipTower(Tower):
    """What both towers share: a transformer, read live."""

    model: Any  # transformers' modules are not typed

    def __init__(self, model: nn.Module, projection: nn.Linear) -> None:
        super().__init__()
        self.model = model
        self.projection = projection
        self.width = self.model.config.hidden_size
        count = len(self.model.encoder.layers)
        self.blocks = tuple(f"{self.prefix}.encoder.layers.{i}" for i in range(count))

    def _block_stages(self, run: Any) -> list[Stage]:
        return [Stage(f"block.{i}", run(b)) for i, b in enumerate(self.model.encoder.layers)]

    def _project(self, x: Tensor, rows: Rows | None) -> Tensor:
        projected: Tensor = self.projection(x)
        return projected


class ClipImageTower(_ClipTower):
    """Pixels (B, 3, H, W) -> embed -> norm -> blocks (B, L, W) -> pool (B, W) -> project (B, D)."""

    prefix = "vision_model"

    def __init__(self, model: nn.Module, projection: nn.Linear) -> None:
        super().__init__(model, projection)
        self.patch_px = self.model.config.patch_size

    def stages(self) -> list[Stage]:
        """Return embed, norm, the blocks, pool (class token, last norm) and project."""
        model = self.model
        return [
            Stage("embed", lambda x, rows: model.embeddings(x)),
            Stage("norm", lambda x, rows: model.pre_layrnorm(x)),
            *self._block_stages(lambda block: lambda x, rows: block(x, None)),
            Stage("pool", lambda x, rows: model.post_layernorm(x[:, 0])),
            Stage("project", self._project),
        ]


class ClipTextTower(_ClipTower):
    """Token ids (P, L) -> embed -> blocks (P, L, W) -> pool (P, W) -> project (P, D)."""

    prefix = "text_model"

    def stages(self) -> list[Stage]:
        """Return embed, the causal blocks, pool (last norm at the end of text) and project."""
        return [
            Stage("embed", lambda x, rows: self.model.embeddings(input_ids=x)),
            *self._block_stages(self._causal),
            Stage("pool", self._pool),
            Stage("project", self._project),
        ]

    def _causal(self, block: Any) -> Run:
        eager = self.model.config._attn_implementation == "eager"

        def run(x: Tensor, rows: Rows | None) -> Tensor:
            mask = _causal_mask(x) if eager else None
            out: Tensor = block(x, mask, is_causal=True)
            return out

        return run

    def _pool(self, x: Tensor, rows: Rows | None) -> Tensor:
        # The norm acts on each token alone, so it may follow the choice of the token.
        assert rows is not None
        pooled: Tensor = self.model.final_layer_norm(x[torch.arange(len(x)), rows.end])
        return pooled


def _causal_mask(x: Tensor) -> Tensor:
    """Return the additive mask (1, 1, L, L) that hides later tokens."""
    length = x.shape[1]
    mask = torch.full((length, length), torch.finfo(x.dtype).min, dtype=x.dtype, device=x.device)
    return mask.triu(1)[None, None]


def build(checkpoint: Checkpoint) -> DualEncoder:
    """Return the checkpoint's model as two towers. The model is used, not copied."""
    net: Any = checkpoint.model
    return DualEncoder(
        net,
        ClipImageTower(net.vision_model, net.visual_projection),
        ClipTextTower(net.text_model, net.text_projection),
        checkpoint.tokenizer,
        dim=net.config.projection_dim,
        logit_scale=float(net.logit_scale.detach().exp()),
        preprocess=checkpoint.preprocess,
        name=checkpoint.name,
        revision=checkpoint.revision,
    )


def load(name: str) -> DualEncoder:
    """Load a backbone by name, hub id or path, as a private copy."""
    return build(load_checkpoint(name))
