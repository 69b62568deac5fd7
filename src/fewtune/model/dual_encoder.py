"""CLIP as an image and a text tower, and what a strategy has changed in them."""

from __future__ import annotations

import contextlib
import fnmatch
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from fewtune.core.errors import AdapterError, ConfigError, did_you_mean
from fewtune.core.preprocess import Preprocess
from fewtune.core.task import ClassSet
from fewtune.model.injected import Injected
from fewtune.model.towers import (
    PROMPT_CHUNK,
    Activations,
    Prompts,
    StageFunction,
    TokenBatch,
    Tower,
)


class Tokenize(Protocol):
    """Turns texts into ids (P, L), cut to the longest, and end-of-text positions (P,)."""

    context: int

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids and end positions; a text longer than `context` raises DataError."""


class Exclusive:
    """A lock that one thread may take several times, and that a copy has anew."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Exclusive], tuple[()]]:
        return Exclusive, ()


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
        self._untouched = False  # within `original`
        self._exclusive = Exclusive()  # towers are switched in place, so one thread uses them

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device

    def encode(self, prompts: Prompts) -> Activations:
        """Tokenise prompts: ids (P, L) that enter the text tower."""
        ids, rows = self._tokenised(prompts)
        return Activations(self.text, ids.to(self.device), rows=rows.to(self.device))

    @torch.no_grad()
    def encode_frozen(self, prompts: Prompts) -> Activations:
        """Send prompts through the text tower, without a gradient: (P, D), not yet normalised.

        `PROMPT_CHUNK` prompts of similar length go at a time, cut to the longest of them.
        """
        ids, rows = self._tokenised(prompts)
        by_length = rows.end.argsort()
        parts = []
        for index in torch.split(by_length, PROMPT_CHUNK):
            part = rows.part(index)
            tokens = ids[index, : int(part.end.max()) + 1].to(self.device)
            parts.append(Activations(self.text, tokens, rows=part.to(self.device)).encoded())
        order = by_length.argsort().to(self.device)
        x = torch.cat([part.x for part in parts])[order]
        return replace(parts[0], x=x, rows=rows.to(self.device))

    def class_embeddings(self, classes: ClassSet) -> Tensor:
        """Return what the untouched text tower makes of class names and templates: (C, D).

        Every prompt is L2-normalised, then those of a class are averaged, as for zero-shot CLIP.
        """
        with self.original():
            return self.encode_frozen(Prompts.of(classes)).embeddings()

    def _tokenised(self, prompts: Prompts) -> tuple[Tensor, TokenBatch]:
        """Return ids (P, L) and what the rows are, on the CPU."""
        ids, end = self.tokenize(prompts.texts)
        alike = int((ids == ids[:1]).all(0).cumprod(0).sum())
        common = min(alike, int(end.min()))
        return ids, TokenBatch(torch.tensor(prompts.owner), end, prompts.classes, common)

    def pixels(self, x: Tensor) -> Activations:
        """Wrap normalised pixels (B, 3, H, W): a batch that enters the image tower."""
        return Activations(self.image, x.to(self.device))

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
                raise ConfigError(
                    f"No parameter of {self.name} matches {glob!r}.",
                    hint=self._near(glob, parameters),
                )
            chosen.update((name, parameters[name]) for name in matching)
        for name, parameter in chosen.items():
            self.initial.setdefault(name, parameter.detach().clone())
            parameter.requires_grad_(True)
        return chosen

    def freeze(self) -> None:
        """Train no further what was unfrozen or injected so far; it is still saved."""
        for parameter in self.tuned().values():
            parameter.requires_grad_(False)

    def inject(self, name: str, make: Callable[[nn.Module], nn.Module]) -> None:
        """Put `make(module)` in the place of the module called `name`.

        Args:
            make: Returns the new module, an `Injected`.

        Raises:
            ConfigError: There is no such module, it was replaced before, a parameter of it is
                unfrozen, or `make` returns no module.
        """
        if any(
            used == name or used.startswith(f"{name}.") for used in (*self.initial, *self._injected)
        ):
            raise ConfigError(f"{name} of {self.name} was changed before it was replaced.")
        modules = dict(self.net.named_modules())
        if name not in modules:
            raise ConfigError(
                f"{self.name} has no module {name!r}.", hint=self._near(name, modules)
            )
        module = modules[name]
        made: nn.Module | None = make(module)
        if not isinstance(made, nn.Module):
            raise ConfigError(
                f"What `make` returned for {name} must be a module, found {type(made).__name__}."
            )
        replacement = made.to(self.device).eval()
        self._injected[name] = (module, replacement)
        self._place(name, replacement)

    def merge(self) -> None:
        """Put one plain layer in the place of each injected module, for good.

        Raises:
            AdapterError: An injected module has no `merged()`, which returns that layer.
        """
        for name, (_, replacement) in self._injected.items():
            plain = _plain(replacement)
            if plain is None:
                raise AdapterError(
                    f"{type(replacement).__name__} at {name} cannot be merged into plain weights."
                )
            self._place(name, plain)
        self._injected.clear()

    def add_hook(self, tower: Tower, stage: str, hook: StageFunction) -> None:
        """Let `hook` change what enters `stage` ("block.0") of one of the two towers."""
        stages = [s.name for s in tower.stages()]
        if stage not in stages:
            raise ConfigError(
                f"{self.name} has no stage {stage!r}.", hint=did_you_mean(stage, stages)
            )
        tower.hooks.setdefault(stage, []).append(hook)

    def set_attention(self, how: Literal["sdpa", "eager-text", "eager"]) -> None:
        """Choose how the towers attend where a gradient is wanted (`Plan.attention`)."""
        self.image.attention = "eager" if how == "eager" else "sdpa"
        self.text.attention = "sdpa" if how == "sdpa" else "eager"

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
        """Within this context plain layers stand in for the injected ones that can be merged.

        One thread at a time is in it, or in `original`; within `original` nothing is merged.
        """
        with self._exclusive:
            injected = {} if self._untouched else self._injected
            plain = {name: _plain(new) for name, (_, new) in injected.items()}
            try:
                for name, layer in plain.items():
                    self._place(name, layer or self._injected[name][1])
                yield
            finally:
                for name in plain:
                    self._place(name, self._injected[name][1])

    @contextlib.contextmanager
    def original(self) -> Iterator[None]:
        """Within this context the towers compute what the untouched backbone computes."""
        with self._exclusive:
            if self._untouched:
                yield
                return
            hooks = (self.image.hooks, self.text.hooks)
            parameters = dict(self.net.named_parameters())
            tuned = {name: parameters[name].data for name in self.initial}
            self._untouched = True
            try:
                self.image.hooks, self.text.hooks = {}, {}
                for name, value in self.initial.items():
                    parameters[name].data = value.to(self.device)
                for name, (module, _) in self._injected.items():
                    self._place(name, module)
                yield
            finally:
                self._untouched = False
                self.image.hooks, self.text.hooks = hooks
                for name, value in tuned.items():
                    parameters[name].data = value
                for name, (_, replacement) in self._injected.items():
                    self._place(name, replacement)

    def _near(self, wanted: str, names: Iterable[str]) -> str:
        """Return the name that is closest to the end of a name or a glob, and how to see all."""
        tail = wanted.replace("*", "").strip(".")
        parts = tail.count(".") + 1
        ends = {".".join(name.split(".")[-parts:]) for name in names if name}
        listed = f"All: `fewtune list backbones {self.name} --parameters`"
        return f"{did_you_mean(tail, ends)} {listed}"

    def _place(self, name: str, module: nn.Module) -> None:
        parent, _, attribute = name.rpartition(".")
        setattr(self.net.get_submodule(parent), attribute, module)


def _plain(replacement: nn.Module) -> nn.Module | None:
    """Return a plain module in the place of an injected one, None where there is none."""
    return replacement.merged() if isinstance(replacement, Injected) else None
