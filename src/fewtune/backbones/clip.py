"""CLIP from transformers: the two towers of a CLIPModel as lists of stages.

The modules are the stock ones, and so are the numbers. Three things are computed in less time: the
last block returns only the token that is pooled, QuickGELU is one step for autograd, and the prefix
that all prompts share goes through the text tower once (fewtune.backbones.shared_prefix).
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.activations import QuickGELUActivation

from fewtune.backbones import shared_prefix
from fewtune.backbones.checkpoint import Checkpoint, load_checkpoint
from fewtune.model.dropout import one_mask_for
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.towers import Stage, TokenBatch, Tower

SLOPE = 1.702  # of QuickGELU


class _ClipTower(Tower):
    """What both towers share: a transformer, read live."""

    model: Any  # transformers' modules are not typed

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.model = net.get_submodule(self.prefix)
        self.positions = f"{self.prefix}.embeddings.position_embedding"
        self.width = self.model.config.hidden_size
        count = len(self.model.encoder.layers)
        self.blocks = tuple(f"{self.prefix}.encoder.layers.{i}" for i in range(count))
        for block in self.model.encoder.layers:
            if isinstance(block.mlp.activation_fn, QuickGELUActivation):
                block.mlp.activation_fn = QuickGelu()

    def _attend(self) -> str:
        """Tell the blocks how to attend, and return it."""
        how = self.attention if torch.is_grad_enabled() else "sdpa"
        self.model.config._attn_implementation = how
        return how

    def _block_stages(self) -> list[Stage]:
        *blocks, end = self.model.encoder.layers
        runs = [*(partial(self._block, block) for block in blocks), partial(self._last, end)]
        return [Stage(f"block.{i}", run) for i, run in enumerate(runs)]

    @abstractmethod
    def _block(self, block: Callable[..., Tensor], x: Tensor, rows: TokenBatch | None) -> Tensor:
        """Send all tokens through a block: (B, L, W) -> (B, L, W)."""

    @abstractmethod
    def _last(self, block: Any, x: Tensor, rows: TokenBatch | None) -> Tensor:
        """Return what the last block makes of the pooled token: (B, L, W) -> (B, 1, W)."""

    def _project(self, x: Tensor, rows: TokenBatch | None) -> Tensor:
        projected: Tensor = self.net.get_submodule(self.projection)(x)
        return projected


class ClipImageTower(_ClipTower):
    """Pixels (B, 3, H, W) -> embed -> norm -> blocks (B, L, W) -> pool (B, W) -> project (B, D).

    What leaves the last block is the class token alone: (B, 1, W).
    """

    prefix = "vision_model"
    projection = "visual_projection"
    tokens = "vision_model.embeddings.patch_embedding"

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.patch_px = self.model.config.patch_size

    def stages(self) -> list[Stage]:
        """Return embed, norm, the blocks, pool (class token, last norm) and project."""
        model = self.model
        return [
            Stage("embed", lambda x, rows: model.embeddings(x)),
            Stage("norm", lambda x, rows: model.pre_layrnorm(x)),
            *self._block_stages(),
            Stage("pool", lambda x, rows: model.post_layernorm(x[:, 0])),
            Stage("project", self._project),
        ]

    def _block(self, block: Callable[..., Tensor], x: Tensor, rows: TokenBatch | None) -> Tensor:
        self._attend()
        return block(x, None)

    def _last(self, block: Any, x: Tensor, rows: TokenBatch | None) -> Tensor:
        return _one_token(block, x, lambda tokens: tokens[:, :1])


class ClipTextTower(_ClipTower):
    """Token ids (P, L) -> embed -> blocks (P, L, W) -> pool (P, W) -> project (P, D).

    What leaves the last block is the end-of-text token alone: (P, 1, W).
    """

    prefix = "text_model"
    projection = "text_projection"
    tokens = "text_model.embeddings.token_embedding"

    def stages(self) -> list[Stage]:
        """Return embed, the causal blocks, pool (last norm) and project."""
        return [
            Stage("embed", lambda x, rows: self.model.embeddings(input_ids=x)),
            *self._block_stages(),
            Stage("pool", lambda x, rows: self.model.final_layer_norm(x[:, 0])),
            Stage("project", self._project),
        ]

    def run(
        self, x: Tensor, rows: TokenBatch | None, start: int = 0, stop: int | None = None
    ) -> Tensor:
        """Send `x` through the stages; blocks before the last see a shared prefix once."""
        names = [stage.name for stage in self.stages()]
        first, last = names.index("block.0"), names.index("pool") - 1
        begin, end = max(start, first), min(len(names) if stop is None else stop, last)
        common = rows.common if rows and not self._tells_rows_apart() else 0
        with one_mask_for(common):
            if not self.share_prefix or common == 0 or end <= begin:
                return super().run(x, rows, start, stop)
            x = super().run(x, rows, start, begin)
            how = self._attend()
            self.model.config._attn_implementation = shared_prefix.NAME
            blocks = self.model.encoder.layers[begin - first : end - first]
            with one_mask_for(common, len(x)):
                x = shared_prefix.run_blocks(blocks, x, common, how)
            self._attend()
            return super().run(x, rows, end, stop)

    def _tells_rows_apart(self) -> bool:
        """Whether a hook sees the rows, or a module in training mode draws masks for each."""
        drawn = not self.share_prefix_dropout and any(
            part.training for part in self.model.encoder.modules()
        )
        return bool(self.hooks) or drawn

    def _block(self, block: Callable[..., Tensor], x: Tensor, rows: TokenBatch | None) -> Tensor:
        eager = self._attend() == "eager"
        mask = shared_prefix.causal_mask(x.shape[1], x) if eager else None
        return block(x, mask, is_causal=True)

    def _last(self, block: Any, x: Tensor, rows: TokenBatch | None) -> Tensor:
        assert rows is not None
        end = rows.end
        index = torch.arange(len(x), device=x.device)
        seen = torch.arange(x.shape[1], device=x.device) <= end[:, None]
        return _one_token(block, x, lambda y: y[index, end].unsqueeze(1), seen[:, None, None])


def _one_token(
    block: Any, x: Tensor, pick: Callable[[Tensor], Tensor], seen: Tensor | None = None
) -> Tensor:
    """Return what a block makes of one token of each row: (B, L, W) -> (B, 1, W).

    The other tokens are keys and values only; what the block would make of them is thrown away by
    pooling.

    Args:
        pick: Takes that token: (B, L, W) -> (B, 1, W).
        seen: (B, 1, 1, L), true where it may look; None for everywhere.
    """
    attention = block.self_attn
    tokens = block.layer_norm1(x)

    def heads(y: Tensor) -> Tensor:
        return y.view(*y.shape[:2], attention.num_heads, -1).transpose(1, 2)

    mixed = F.scaled_dot_product_attention(
        heads(attention.q_proj(pick(tokens))),
        heads(attention.k_proj(tokens)),
        heads(attention.v_proj(tokens)),
        attn_mask=seen,
        scale=attention.scale,
    )
    x = pick(x) + attention.out_proj(mixed.transpose(1, 2).flatten(2))
    out: Tensor = x + block.mlp(block.layer_norm2(x))
    return out


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), of which only x is kept for the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to every element: (..., W) -> (..., W)."""
        out: Tensor = _QuickGelu.apply(x)
        return out


class _QuickGelu(torch.autograd.Function):
    """SiLU of 1.702 x over 1.702, since torch computes SiLU and its gradient in one pass each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return x * sigmoid(1.702 x)."""
        ctx.save_for_backward(x)
        return F.silu(SLOPE * x, inplace=True).div_(SLOPE)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient of x."""
        (x,) = ctx.saved_tensors
        out: Tensor = torch.ops.aten.silu_backward(grad, SLOPE * x)
        return out


def build(checkpoint: Checkpoint) -> DualEncoder:
    """Return the checkpoint's model as two towers. The model is used, not copied."""
    net: Any = checkpoint.model
    return DualEncoder(
        net,
        ClipImageTower(net),
        ClipTextTower(net),
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
