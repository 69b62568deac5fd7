"""A random CLIP in OpenAI's layout, written from its description."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn


class Sigmoid1702(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / (1 + torch.exp(-1.702 * x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, activation: nn.Module) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, 3 * width),
                act=activation,
                c_proj=nn.Linear(3 * width, width),
            )
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, activation: nn.Module) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, activation) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Visual(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 8, 8, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn(10, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, heads, activation)
        self.proj = nn.Parameter(torch.randn(width, 48) * width**-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.conv1(pixels).flatten(2).mT
        cls = self.class_embedding.expand(len(pixels), 1, -1)
        x = torch.cat([cls, patches], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class ReferenceClip(nn.Module):
    """CLIP written from its description: width 128 / 64, 3 / 2 layers, 24 px, 16 tokens."""

    def __init__(self, activation: nn.Module, heads: tuple[int, int] = (2, 1)) -> None:
        super().__init__()
        self.visual = Visual(128, 3, heads[0], activation)
        self.transformer = Transformer(64, 2, heads[1], activation)
        self.token_embedding = nn.Embedding(49408, 64)
        self.positional_embedding = nn.Parameter(torch.randn(16, 64))
        self.ln_final = nn.LayerNorm(64)
        self.text_projection = nn.Parameter(torch.randn(64, 48) / 8)
        self.logit_scale = nn.Parameter(torch.tensor(4.0))
        for parameter in self.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, mean=0.5, std=0.2)

    def text(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        mask = torch.full((length, length), -torch.inf, dtype=self.positional_embedding.dtype)
        x = self.token_embedding(ids) + self.positional_embedding[:length]
        x = self.ln_final(self.transformer(x, mask.triu(1)))
        return x[torch.arange(len(ids)), ids.argmax(1)] @ self.text_projection


def reference(activation: str = "quick_gelu", **settings: Any) -> ReferenceClip:
    torch.manual_seed(1)
    module = Sigmoid1702() if activation == "quick_gelu" else nn.GELU()
    return ReferenceClip(module, **settings).eval().requires_grad_(False)
