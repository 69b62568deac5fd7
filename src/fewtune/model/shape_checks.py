"""Shapes that what a strategy adds must keep, and the errors that name what does not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from fewtune.core.errors import ConfigError, FewTuneError


@contextlib.contextmanager
def failing_stage(stage: str, tower: str) -> Iterator[None]:
    """Within this context an error says in which stage of which tower it occurred.

    Raises:
        ConfigError: For any error that is not FewTune's own and not for want of memory.
    """
    try:
        yield
    except (FewTuneError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ConfigError(
            f"Stage {stage} of {tower} fails: {type(error).__name__}: {error}",
            hint="What was injected or hooked there must keep the shape of what it replaces.",
        ) from error


def kept_rows(
    hook: Callable[..., Any], stage: str, before: Tensor, after: Tensor | None, texts: bool
) -> Tensor:
    """Return what a hook has made of a batch (B, L, W), if it has kept its shape.

    Images may have got more or fewer tokens (L).

    Raises:
        ConfigError: It returned no tensor, or one of another shape.
    """
    found = tuple(after.shape) if isinstance(after, Tensor) else type(after).__name__
    expected, size = tuple(before.shape), before.shape
    if isinstance(after, Tensor):
        free = before.dim() == 3 and not texts  # images may get tokens: (B, L, W)
        same = after.dim() == before.dim() and after.shape[0] == size[0]
        if same and (after.shape == size or (free and after.shape[2] == size[2])):
            return after
    name = getattr(getattr(hook, "func", hook), "__qualname__", repr(hook))
    raise ConfigError(
        f"The hook {name} at {stage} returned {found} in the place of {expected}.",
        hint="It must keep the rows, their width and, for texts, their tokens.",
    )
