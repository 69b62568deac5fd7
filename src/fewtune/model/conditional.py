"""Conditional prompts: class prompts that depend on the image, so each image has class embeddings.

B images and P prompts are B x P rows, image by image. They enter the text tower at its cut and go
through it in pieces, so that memory grows with a piece. Where there are several, each goes through
once more for its gradient, and so do the hooks that it passes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fewtune.model.recomputation import in_chunks
from fewtune.model.towers import Activations, class_means

PIECE_TOKENS = 1 << 13


def embeddings_of_each(prompts: Activations, given: Tensor, first: int = 0) -> Tensor:
    """Return the class embeddings of each image, averaged over normalised prompts: (B, C, D).

    Args:
        prompts: P prompts as they enter the text tower at its cut; their `chunk` is how many rows
            make a piece.
        given: (B, K) what each image gives to its prompts; hooks find it in `TokenBatch.given`.
        first: Number of the first image in the whole batch, when this is a part of one.
    """
    assert prompts.rows is not None
    rows, count = prompts.rows, len(prompts.x)

    def embed(start: int, part: Tensor) -> Tensor:
        index = torch.arange(start, start + len(part), device=part.device) % count
        of_part = replace(rows.part(index), given=part)
        number = first * count + start
        return replace(prompts, x=prompts.x[index], rows=of_part, first=number, chunk=0).encoded().x

    size = prompts.chunk or max(1, PIECE_TOKENS // prompts.x.shape[1])
    pairs = given.repeat_interleave(count, 0)
    x = embed(0, pairs) if len(pairs) <= size else in_chunks(embed, pairs, size)
    x = F.normalize(x.float(), dim=-1).view(len(given), count, -1).transpose(0, 1)
    return class_means(x.flatten(1), rows).view(-1, *x.shape[1:]).transpose(0, 1)
