"""Dropout whose masks belong to the rows of a batch, however the batch is split.

Each call has a stream of random bytes: torch's generator says which, the number of the batch's
first row says where it starts. So the parts of a batch see the masks of the whole batch, if each
part starts from the same state of torch's generator. On a GPU the bytes come from its own
generator, which cannot skip: there, masks repeat when a part is computed again, but another split
gives other masks.

A prefix that all rows share may have one mask for all of them. Then it may be held once, in front
of what each row has of its own.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor

LEVELS = 256  # values of a random byte
WORD_BYTES = 8  # what one draw of PCG64 yields
SEEDS = 2**62

_first: ContextVar[int] = ContextVar("first", default=0)
_common: ContextVar[tuple[int, int]] = ContextVar("common", default=(0, 0))


@contextlib.contextmanager
def rows_from(first: int) -> Iterator[None]:
    """Within this context the rows of a batch are numbered from `first` on."""
    token = _first.set(first)
    try:
        yield
    finally:
        _first.reset(token)


@contextlib.contextmanager
def one_mask_for(tokens: int, rows: int = 0) -> Iterator[None]:
    """Within this context the first `tokens` tokens of all rows have the same mask.

    Inputs with fewer tokens, such as one that was picked from each row, are not concerned.

    Args:
        rows: How many rows an input has that holds the prefix once: (1, tokens + rows * N, W),
            N being what each row has of its own; 0 if inputs are rows: (rows, tokens + N, W).
    """
    token = _common.set((tokens, rows))
    try:
        yield
    finally:
        _common.reset(token)


def rounded(p: float) -> float:
    """Return the probability that `keep_mask` drops with: a multiple of 1/256, 0 only for 0."""
    return min(max(round(p * LEVELS), p > 0), LEVELS - 1) / LEVELS


def keep_mask(shape: Sequence[int], p: float, device: torch.device) -> Tensor:
    """Draw a mask of zeros (dropped, with probability `rounded(p)`) and ones: uint8 of `shape`."""
    seed = int(torch.randint(SEEDS, ()))
    tokens, _ = _common.get()
    shared = len(shape) == 3 and 0 < tokens < shape[1]
    random = _shared_prefix(shape, seed, device) if shared else _draw(shape, seed, device)
    drop = round(rounded(p) * LEVELS)
    # Compared by clamping, as torch's comparisons of bytes are not vectorised on a CPU.
    return random.clamp_(drop - 1, drop).sub_(drop - 1)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero elements of x (B, ...) with probability `rounded(p)` and scale the others up."""
    if not training or p == 0:
        return x
    return x * keep_mask(x.shape, p, x.device).to(x.dtype) / (1 - rounded(p))


def _shared_prefix(shape: Sequence[int], seed: int, device: torch.device) -> Tensor:
    """Return random bytes whose prefix is the same in all rows."""
    (tokens, packed), (_, length, width) = _common.get(), shape
    with rows_from(0):
        prefix = _draw((1, tokens, width), seed + SEEDS, device)  # of another stream than the rows
    if packed:
        own = _draw((packed, (length - tokens) // packed, width), seed, device)
        return torch.cat([prefix, own.view(1, -1, width)], dim=1)
    own = _draw((shape[0], length - tokens, width), seed, device)
    return torch.cat([prefix.expand(shape[0], -1, -1), own], dim=1)


def _draw(shape: Sequence[int], seed: int, device: torch.device) -> Tensor:
    """Return random bytes of `shape`, rows first."""
    if device.type != "cpu":
        generator = torch.Generator(device).manual_seed(seed + _first.get())
        return torch.empty(*shape, dtype=torch.uint8, device=device).random_(generator=generator)
    rows, size = shape[0], math.prod(shape[1:])
    words = math.ceil(size / WORD_BYTES)
    stream = np.random.PCG64(seed).advance(_first.get() * words)
    random = torch.from_numpy(stream.random_raw(rows * words).view(np.uint8))
    return random.view(rows, -1)[:, :size].reshape(*shape)
