"""Shared prefix: the tokens that all prompts begin with go through the blocks once.

In a causal tower a token depends on those before it, so what "a photo of a" becomes is the same in
every prompt. The batch (P, L, W) goes through as one row: S common tokens, then L - S of each
prompt.
Norms, projections and MLPs see tokens alone; attention is the only place that tells rows apart.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.clip.modeling_clip import eager_attention_forward

NAME = "fewtune-common-prefix"


def run_blocks(blocks: Iterable[Any], x: Tensor, common: int, attention: str) -> Tensor:
    """Send x (P, L, W) through causal blocks; its first `common` tokens are those of every row.

    Args:
        blocks: Stock encoder layers whose config asks for the attention function `NAME`.
        attention: "sdpa" or "eager", for what each row does by itself.
    """
    rows, length, width = x.shape
    packed = torch.cat([x[:1, :common], x[:, common:].reshape(1, -1, width)], dim=1)
    for block in blocks:
        packed = block(packed, None, common=common, rows=rows, how=attention)
    prefix = packed[:, :common].expand(rows, -1, -1)
    return torch.cat([prefix, packed[0, common:].view(rows, length - common, width)], dim=1)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    common: int,
    rows: int,
    how: str,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within the prefix, and from each row's own tokens to the prefix and themselves.

    Queries, keys and values are (1, H, T, D); the result is (1, T, H, D).
    """
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(how, eager_attention_forward)
    prefix = [t[:, :, :common] for t in (query, key, value)]
    own = [_by_row(t[0, :, common:], rows) for t in (query, key, value)]
    whole = [
        torch.cat([b.expand(rows, -1, -1, -1), o], 2) for b, o in zip(prefix, own, strict=True)
    ]
    hidden = causal_mask(whole[1].shape[2], query)
    first, _ = attend(module, *prefix, hidden[..., :common, :common], scaling=scaling)
    others, _ = attend(module, own[0], *whole[1:], hidden[..., common:, :], scaling=scaling)
    return torch.cat([first, others.flatten(0, 1).unsqueeze(0)], dim=1), None


def _by_row(x: Tensor, rows: int) -> Tensor:
    """Return (H, P * N, D) as (P, H, N, D)."""
    return x.view(x.shape[0], rows, -1, x.shape[2]).transpose(0, 1)


def causal_mask(length: int, like: Tensor) -> Tensor:
    """Return the additive mask (1, 1, L, L) that hides later tokens, of the kind of a tensor."""
    least = torch.finfo(like.dtype).min
    mask = torch.full((length, length), least, dtype=like.dtype, device=like.device)
    return mask.triu(1)[None, None]


ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
