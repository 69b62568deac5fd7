"""Injected layers: what `DualEncoder.inject` puts in the place of a module of the backbone."""

from __future__ import annotations

from typing import Self

from torch import nn


class Injected(nn.Module):
    """A layer in the place of `base`, which computes what `base` does until it is trained.

    Parameters of the layer itself are trained and saved, those of `base` are neither.

    Args:
        base: The original module; `DualEncoder.original` brings it back.
        dropout: Probability of this layer's dropout (`fewtune.model.dropout`). Without any it has
            no training mode, so what all prompts begin with is computed once.
    """

    def __init__(self, base: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base
        self.dropout = dropout

    def train(self, mode: bool = True) -> Self:
        """Switch the layer's own dropout; the original stays in evaluation mode."""
        super().train(mode and self.dropout > 0)
        self.base.eval()
        return self

    def merged(self) -> nn.Module | None:
        """Return a plain module that computes the same without dropout; None if there is none."""
        return None
