"""Towers as lists of stages, and the batches that go through them.

Shapes: B images, P prompts, C classes, L tokens, W width of a tower, D width of the joint space.
An image embedding is z (B, D), a class embedding w (C, D).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fewtune.core.task import ClassSet
from fewtune.model.dropout import rows_from
from fewtune.model.recomputation import in_chunks
from fewtune.model.shape_checks import failing_stage, kept_rows

PROMPT_CHUNK = 64  # prompts sent through the text tower at a time where no gradient is wanted


@dataclass(frozen=True)
class Prompts:
    """Texts and the class each belongs to.

    Attributes:
        texts: P prompts.
        owner: Column (0..C-1) of each prompt; every class has at least one.
        classes: C class names, in column order.
    """

    texts: tuple[str, ...]
    owner: tuple[int, ...]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, classes: ClassSet) -> Prompts:
        """Return names x templates, or the descriptions where a class has any."""
        pairs = [(t, label) for label in range(len(classes)) for t in classes.texts(label)]
        texts, owner = zip(*pairs, strict=True)
        return cls(texts, owner, classes.names)


@dataclass(frozen=True)
class TokenBatch:
    """What the tokens of a text batch stand for, prompt by prompt.

    Attributes:
        owner: (P,) class of each prompt.
        end: (P,) position of the end-of-text token, where the tower pools.
        classes: C class names, in column order.
        common: Tokens that all prompts begin with, fewer than any prompt has.
        given: (P, K) what the image of each row gives to it (`Head.condition`), or None.
    """

    owner: Tensor
    end: Tensor
    classes: tuple[str, ...]
    common: int = 0
    given: Tensor | None = None

    def part(self, rows: slice | Tensor) -> TokenBatch:
        """Return the same of some of the prompts."""
        given = None if self.given is None else self.given[rows]
        return replace(self, owner=self.owner[rows], end=self.end[rows], given=given)

    def to(self, device: torch.device) -> TokenBatch:
        """Return the same on a device."""
        return replace(self, owner=self.owner.to(device), end=self.end.to(device))


StageFunction = Callable[[Tensor, TokenBatch | None], Tensor]


class Stage(NamedTuple):
    """One step of a tower: embed, norm, block.0, block.1, ..., pool, project."""

    name: str
    run: StageFunction


class Tower(ABC):
    """One encoder as a list of stages.

    A hook (`DualEncoder.add_hook`) receives what enters a stage and returns what enters it instead;
    hooks of a stage run in the order in which they were added, in backward once more where prompts
    go in pieces. A hook keeps the rows, their width and, for texts, their tokens.

    Attributes:
        prefix: Start of the names of this tower's parameters in the backbone.
        blocks: Names of its transformer blocks, first to last.
        projection: Name of the linear layer into the joint space, without bias.
        tokens: Name of the embedding of patches, or of tokens by id.
        positions: Name of the embedding of positions.
        width: W.
        patch_px: Side of an image patch; 0 for text.
        attention: How its blocks attend where a gradient is wanted: in one step, or in plain ones.
        share_prefix: Whether the tokens that all rows of a batch begin with are computed once,
            where no hook and no dropout tells the rows apart.
        share_prefix_dropout: Whether dropout has one mask for that prefix, so that it does not.
    """

    prefix: str
    blocks: tuple[str, ...]
    projection: str
    tokens: str
    positions: str
    width: int
    patch_px: int = 0
    attention: Literal["sdpa", "eager"] = "sdpa"
    share_prefix: bool = True
    share_prefix_dropout: bool = False

    def __init__(self) -> None:
        self.hooks: dict[str, list[StageFunction]] = {}

    @abstractmethod
    def stages(self) -> list[Stage]:
        """Return the stages, reading the modules live (a block may have been replaced)."""

    def run(
        self, x: Tensor, rows: TokenBatch | None, start: int = 0, stop: int | None = None
    ) -> Tensor:
        """Send `x`, which enters stage `start`, through the stages before `stop`.

        Images are (B, 3, H, W) at the first stage and texts (P, L); within the blocks either is
        (B, L, W), at the end (B, D).
        """
        for stage in self.stages()[start:stop]:
            x = self._step(stage, x, rows)
        return x

    def frozen_prefix(self, x: Tensor, rows: TokenBatch | None) -> int:
        """Return how many leading stages no trainable tensor influences.

        Args:
            x: What enters the first stage: (B, 3, H, W) or (P, L).
            rows: What the rows are, for texts.

        Raises:
            ConfigError: A stage fails, with its name.
        """
        stages = self.stages()
        with torch.enable_grad():
            for index, stage in enumerate(stages):
                with failing_stage(stage.name, self.prefix):
                    x = self._step(stage, x, rows)
                if x.requires_grad:
                    return index
        return len(stages)

    def _step(self, stage: Stage, x: Tensor, rows: TokenBatch | None) -> Tensor:
        for hook in self.hooks.get(stage.name, ()):
            x = kept_rows(hook, stage.name, x, hook(x, rows), rows is not None)
        return stage.run(x, rows)


@dataclass(frozen=True)
class Activations:
    """A batch on its way through a tower: activations, and the stage they enter next.

    What a cache holds and what a training step receives are both this.

    Attributes:
        x: What enters the next stage: images (B, 3, H, W) or token ids (P, L) at first, then
            (B, L, W), in the end embeddings (B, D).
        at: Index of that stage; the number of stages when all are behind it.
        rows: What the rows of a text batch are.
        first: Number of the first row in the whole batch, when this is a part of one.
        chunk: Rows that are sent at a time (fewtune.model.recomputation); 0 for all.
    """

    tower: Tower
    x: Tensor
    at: int = 0
    rows: TokenBatch | None = None
    first: int = 0
    chunk: int = 0

    def advance(self, stop: int) -> Activations:
        """Return the batch as it enters stage `stop`."""
        if stop == self.at:
            return self
        if not 0 < self.chunk < len(self.x):
            return replace(self, x=self._run(stop), at=stop)
        x = in_chunks(lambda start, rows: self._part(start, rows)._run(stop), self.x, self.chunk)
        return replace(self, x=x, at=stop)

    def parts(self, size: int) -> Iterator[Activations]:
        """Yield the batch as batches of at most `size` rows."""
        for start in range(0, len(self.x), size):
            yield self._part(start, self.x[start : start + size])

    def _part(self, start: int, x: Tensor) -> Activations:
        rows = self.rows and self.rows.part(slice(start, start + len(x)))
        return replace(self, x=x, rows=rows, first=self.first + start, chunk=0)

    def encoded(self) -> Activations:
        """Return the batch at the end of its tower, gradient kept: (B, D) or (P, D)."""
        return self.advance(len(self.tower.stages()))

    def as_leaf(self) -> Activations:
        """Return the batch as a leaf: it collects the gradient that would flow further back."""
        return replace(self, x=self.x.detach().requires_grad_(self.x.requires_grad))

    def embeddings(self, reduce: Literal["mean", "none"] = "mean") -> Tensor:
        """Return the embeddings; those of images are not normalised: (B, D).

        Texts are L2-normalised first, then several prompts of a class are averaged: (C, D)
        (CLIP's prompt ensemble); `reduce="none"` keeps the rows: (P, D).
        """
        batch = self.encoded()
        if batch.rows is None:
            return batch.x
        if reduce == "mean" and not batch.x.requires_grad:
            return batch._means
        x = F.normalize(batch.x.float(), dim=-1)
        return class_means(x, batch.rows) if reduce == "mean" else x

    @cached_property
    def _means(self) -> Tensor:
        """Class embeddings that nothing trains: averaged once, not in every step."""
        assert self.rows is not None
        return class_means(F.normalize(self.x.float(), dim=-1), self.rows)

    def _run(self, stop: int) -> Tensor:
        with rows_from(self.first):
            return self.tower.run(self.x, self.rows, self.at, stop)


def class_means(x: Tensor, rows: TokenBatch) -> Tensor:
    """Average the rows of each class: (P, D) -> (C, D)."""
    count = len(rows.classes)
    if x.shape[0] == count:
        order = torch.argsort(rows.owner)
        return x[order]
    sums = torch.zeros(count, x.shape[1], dtype=x.dtype, device=x.device)
    sums = sums.index_add(0, rows.owner, x)
    ones = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
    return sums / torch.zeros_like(sums[:, :1]).index_add(0, rows.owner, ones)
