"""CLIP as two lists of stages, and the half-finished batches that travel through them.

Notation for tensor shapes: B images, P prompts, C classes, L tokens, W width of a tower, D width of
the joint embedding. `z` is an image embedding (B, D), `w` a class embedding (C, D).
"""

from __future__ import annotations

import contextlib
import fnmatch
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewtune.core.chunks import in_chunks
from fewtune.core.dropout import rows_from
from fewtune.core.errors import AdapterError, ConfigError
from fewtune.core.preprocess import Preprocess

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


@dataclass(frozen=True)
class Rows:
    """What the rows of a text batch are.

    Attributes:
        owner: (P,) class of each row.
        end: (P,) position of the end-of-text token, where the tower pools.
        classes: C class names, in column order.
        common: Tokens that all rows begin with, fewer than any row has.
    """

    owner: Tensor
    end: Tensor
    classes: tuple[str, ...]
    common: int = 0

    def part(self, rows: slice | Tensor) -> Rows:
        """Return what some of the rows are."""
        return replace(self, owner=self.owner[rows], end=self.end[rows])


Run = Callable[[Tensor, Rows | None], Tensor]


class Stage(NamedTuple):
    """One step of a tower: embed, norm, block.0, block.1, ..., pool, project."""

    name: str
    run: Run


class Tower(ABC):
    """One encoder as a list of stages.

    A hook added `before` a stage receives what enters the stage and returns what shall enter it
    instead; hooks of a stage run in the order they were added.

    Attributes:
        prefix: Start of the names of this tower's parameters in the backbone.
        blocks: Names of its transformer blocks, first to last.
        width: W.
        patch_px: Side of an image patch; 0 for text.
        attention: How its blocks attend where a gradient is wanted: in one step, or in plain ones.
        joins: Whether what all rows of a batch begin with is computed once, where no hook and no
            dropout tells the rows apart.
        shares: Whether dropout has one mask for that beginning, so that it cannot.
    """

    prefix: str
    blocks: tuple[str, ...]
    width: int
    patch_px: int = 0
    attention: Literal["sdpa", "eager"] = "sdpa"
    joins: bool = True
    shares: bool = False

    def __init__(self) -> None:
        self.hooks: dict[str, list[Run]] = {}

    @abstractmethod
    def stages(self) -> list[Stage]:
        """Return the stages, reading the modules live (a block may have been replaced)."""

    def run(self, x: Tensor, rows: Rows | None, start: int = 0, stop: int | None = None) -> Tensor:
        """Send `x`, which enters stage `start`, through the stages before `stop`."""
        for stage in self.stages()[start:stop]:
            x = self._step(stage, x, rows)
        return x

    def frozen_prefix(self, x: Tensor, rows: Rows | None) -> int:
        """Return how many leading stages no trainable tensor influences, seen from input `x`."""
        stages = self.stages()
        with torch.enable_grad():
            for index, stage in enumerate(stages):
                x = self._step(stage, x, rows)
                if x.requires_grad:
                    return index
        return len(stages)

    def _step(self, stage: Stage, x: Tensor, rows: Rows | None) -> Tensor:
        for hook in self.hooks.get(stage.name, ()):
            x = hook(x, rows)
        return stage.run(x, rows)


@dataclass(frozen=True)
class Partial:
    """A batch on its way through a tower: activations, and the stage they enter next.

    What a cache holds and what a training step receives are both this.

    Attributes:
        first: Number of the first row in the whole batch, when this is a part of one.
        chunk: Rows that are sent at a time (fewtune.core.chunks); 0 for all.
    """

    tower: Tower
    x: Tensor
    at: int = 0
    rows: Rows | None = None
    first: int = 0
    chunk: int = 0

    def advance(self, stop: int) -> Partial:
        """Return the batch as it enters stage `stop`."""
        if stop == self.at:
            return self
        if not 0 < self.chunk < len(self.x):
            return replace(self, x=self._run(stop), at=stop)
        x = in_chunks(lambda start, rows: self._part(start, rows)._run(stop), self.x, self.chunk)
        return replace(self, x=x, at=stop)

    def parts(self, size: int) -> Iterator[Partial]:
        """Yield the batch as batches of at most `size` rows."""
        for start in range(0, len(self.x), size):
            yield self._part(start, self.x[start : start + size])

    def _part(self, start: int, x: Tensor) -> Partial:
        rows = self.rows and self.rows.part(slice(start, start + len(x)))
        return replace(self, x=x, rows=rows, first=self.first + start, chunk=0)

    def done(self, chunk: int | None = None) -> Partial:
        """Return the batch finished once, gradient kept, so that finishing again is free.

        Args:
            chunk: Rows that are sent at a time, if other than the batch's own.
        """
        batch = self if chunk is None else replace(self, chunk=chunk)
        return batch.advance(len(self.tower.stages()))

    def cut_off(self) -> Partial:
        """Return the batch as a leaf: it collects the gradient that would flow further back."""
        wanted = self.x.requires_grad
        return replace(self, x=self.x.detach().requires_grad_(wanted))

    def finish(self, reduce: Literal["mean", "none"] = "mean") -> Tensor:
        """Return the embeddings, unnormalised for images: (B, D).

        Texts are L2-normalised first, then several prompts of a class are averaged: (C, D)
        (CLIP's prompt ensemble); `reduce="none"` keeps the rows: (P, D).
        """
        batch = self.done()
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


def class_means(x: Tensor, rows: Rows) -> Tensor:
    """Average the rows of each class: (P, D) -> (C, D)."""
    count = len(rows.classes)
    if x.shape[0] == count:
        order = torch.argsort(rows.owner)
        return x[order]
    sums = torch.zeros(count, x.shape[1], dtype=x.dtype, device=x.device)
    sums = sums.index_add(0, rows.owner, x)
    ones = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
    return sums / torch.zeros_like(sums[:, :1]).index_add(0, rows.owner, ones)


class Tokenize(Protocol):
    """Turns texts into ids (P, L), cut to the longest, and end-of-text positions (P,)."""

    context: int

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids and end positions; a text longer than `context` raises DataError."""


class DualEncoder:
    """A private copy of a CLIP-like backbone that a strategy may change.

    Everything is frozen and in evaluation mode at first. What a strategy unfreezes or injects is
    remembered, so that exactly that is trained, saved, and undone by `original`.

    Attributes:
        net: The stock transformers model.
        image: The image tower.
        text: The text tower.
        dim: D.
        logit_scale: The factor on cosines, exponentiated (100 for OpenAI's weights).
    """

    def __init__(
        self,
        net: nn.Module,
        image: Tower,
        text: Tower,
        tokenize: Tokenize,
        *,
        dim: int,
        logit_scale: float,
        preprocess: Preprocess,
        name: str,
        revision: str,
    ) -> None:
        self.net = net.requires_grad_(False).eval()
        self.image = image
        self.text = text
        self.tokenize = tokenize
        self.dim = dim
        self.logit_scale = logit_scale
        self.preprocess = preprocess
        self.name = name
        self.revision = revision
        self.initial: dict[str, Tensor] = {}
        self._injected: dict[str, tuple[nn.Module, nn.Module]] = {}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device

    def encode(self, prompts: Prompts) -> Partial:
        """Tokenise prompts: a batch that enters the text tower."""
        ids, end = self.tokenize(prompts.texts)
        owner = torch.tensor(prompts.owner)
        alike = int((ids == ids[:1]).all(0).cumprod(0).sum())
        common = min(alike, int(end.min()))
        rows = Rows(owner.to(self.device), end.to(self.device), prompts.classes, common)
        return Partial(self.text, ids.to(self.device), rows=rows)

    def pixels(self, x: Tensor) -> Partial:
        """Wrap normalised pixels (B, 3, H, W): a batch that enters the image tower."""
        return Partial(self.image, x.to(self.device))

    def unfreeze(self, *globs: str) -> dict[str, nn.Parameter]:
        """Make matching parameters trainable and return them by name ("*" crosses dots).

        Raises:
            ConfigError: A pattern matches nothing.
        """
        chosen: dict[str, nn.Parameter] = {}
        parameters = dict(self.net.named_parameters())
        for glob in globs:
            matching = fnmatch.filter(parameters, glob)
            if not matching:
                raise ConfigError(f"No parameter of {self.name} matches {glob!r}.")
            chosen.update((name, parameters[name]) for name in matching)
        for name, parameter in chosen.items():
            self.initial.setdefault(name, parameter.detach().clone())
            parameter.requires_grad_(True)
        return chosen

    def inject(self, name: str, make: Callable[[nn.Module], nn.Module]) -> None:
        """Put `make(module)` in the place of the module called `name`.

        Raises:
            ConfigError: The module was replaced before, or a parameter of it is unfrozen.
        """
        if any(used == name or used.startswith(f"{name}.") for used in self._touched()):
            raise ConfigError(f"{name} of {self.name} was changed before it was replaced.")
        module = self.net.get_submodule(name)
        replacement = make(module).to(self.device).eval()
        self._injected[name] = (module, replacement)
        self._place(name, replacement)

    def merge(self) -> None:
        """Put one plain layer in the place of each injected module, for good.

        Raises:
            AdapterError: An injected module has no `merged()`, which returns that layer.
        """
        for name, (_, replacement) in self._injected.items():
            merged = getattr(replacement, "merged", None)
            if merged is None:
                raise AdapterError(
                    f"{type(replacement).__name__} at {name} cannot be merged into plain weights."
                )
            self._place(name, merged())
        self._injected.clear()

    def before(self, tower: Tower, stage: str, hook: Run) -> None:
        """Let `hook` change what enters `stage` ("block.0") of one of the two towers."""
        if stage not in [s.name for s in tower.stages()]:
            raise ConfigError(f"{self.name} has no stage {stage!r}.")
        tower.hooks.setdefault(stage, []).append(hook)

    def attend(self, how: Literal["sdpa", "eager-text", "eager"]) -> None:
        """Choose how the towers attend where a gradient is wanted (`Plan.attention`)."""
        self.image.attention = "eager" if how == "eager" else "sdpa"
        self.text.attention = "sdpa" if how == "sdpa" else "eager"

    def freeze(self) -> None:
        """Stop training what is unfrozen or injected so far; it stays part of the run."""
        self.net.requires_grad_(False)

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return what this run has unfrozen or injected, by name: what a run saves."""
        fresh: set[str] = set(self.initial)
        for name, (module, replacement) in self._injected.items():
            old = {id(p) for p in module.parameters()}
            fresh.update(
                f"{name}.{inner}" for inner, p in replacement.named_parameters() if id(p) not in old
            )
        return {name: p for name, p in self.net.named_parameters() if name in fresh}

    def training(self, mode: bool) -> None:
        """Switch injected modules (their dropout) to training or evaluation."""
        for _, replacement in self._injected.values():
            replacement.train(mode)

    @contextlib.contextmanager
    def merged(self) -> Iterator[None]:
        """Within this context plain layers stand in for the injected ones that can be merged."""
        plain = {
            name: merged()
            for name, (_, replacement) in self._injected.items()
            if callable(merged := getattr(replacement, "merged", None))
        }
        try:
            for name, layer in plain.items():
                self._place(name, layer)
            yield
        finally:
            for name in plain:
                self._place(name, self._injected[name][1])

    @contextlib.contextmanager
    def original(self) -> Iterator[None]:
        """Within this context the towers compute what the untouched backbone computes."""
        hooks = (self.image.hooks, self.text.hooks)
        parameters = dict(self.net.named_parameters())
        tuned = {name: parameters[name].data for name in self.initial}
        try:
            self.image.hooks, self.text.hooks = {}, {}
            for name, value in self.initial.items():
                parameters[name].data = value.to(self.device)
            for name, (module, _) in self._injected.items():
                self._place(name, module)
            yield
        finally:
            self.image.hooks, self.text.hooks = hooks
            for name, value in tuned.items():
                parameters[name].data = value
            for name, (_, replacement) in self._injected.items():
                self._place(name, replacement)

    def _touched(self) -> tuple[str, ...]:
        return (*self.initial, *self._injected)

    def _place(self, name: str, module: nn.Module) -> None:
        parent, _, attribute = name.rpartition(".")
        setattr(self.net.get_submodule(parent), attribute, module)
