"""Cuts: where the frozen part of each tower ends. Below its cut everything may be computed once."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fewtune.core.errors import ConfigError
from fewtune.core.task import ClassSet
from fewtune.model.head import Head
from fewtune.model.towers import PROMPT_CHUNK, Activations, Prompts, Tower


@dataclass(frozen=True)
class Cuts:
    """How many leading stages of each tower are frozen; None where a tower is not used."""

    image: int
    text: int | None


@torch.inference_mode(False)
def find_cuts(head: Head, classes: ClassSet) -> Cuts:
    """Derive the cuts by sending one image and one prompt through, gradients on.

    Below a cut everything may be computed once, unless two probes in training mode differ there
    (random code in a hook): then the cut is 0.

    Raises:
        ConfigError: A stage fails on what a strategy has put there, or the head changes the shape
            of embeddings.
    """
    _keep_shapes(head, classes)
    model = head.model
    size = model.preprocess.size_px
    image = _cut(head, model.pixels(torch.zeros(1, 3, size, size)))
    if head.classifier == "linear":
        return Cuts(image, None)
    prompts = head.prompts(classes)
    one = model.encode(Prompts(prompts.texts[:1], prompts.owner[:1], prompts.classes))
    return Cuts(image, _cut(head, with_image(head, one)))


@torch.no_grad()
def _keep_shapes(head: Head, classes: ClassSet) -> None:
    """Refuse a head whose `image` or `text` returns no embeddings."""
    z = torch.randn(2, head.model.dim, generator=torch.Generator().manual_seed(0))
    z = z.to(head.model.device)
    made: dict[str, tuple[Tensor, Any]] = {"image": (z, head.image(z))}
    if head.classifier == "text":
        w = z[:1].expand(len(classes), -1)
        w = w.expand(2, *w.shape) if head.conditional else w
        made["text"] = (w, head.text(w, classes.names))
    for name, (x, y) in made.items():
        found = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        if found != x.shape:
            raise ConfigError(
                f"`Head.{name}` must return embeddings {tuple(x.shape)}, found {found}."
            )


def with_image(head: Head, prompts: Activations) -> Activations:
    """Return prompts (P, L) of a conditional head with what a black image gives to each."""
    if not head.conditional or prompts.rows is None:
        return prompts
    size = head.model.preprocess.size_px
    z = head.model.pixels(torch.zeros(1, 3, size, size)).embeddings()
    given = head.condition(head.image(z.float()))
    if not given.requires_grad:
        given = given.requires_grad_()  # where it enters, the prompts are of one image
    given = given.expand(len(prompts.x), *given.shape[1:])
    return replace(prompts, rows=replace(prompts.rows, given=given))


def prompts_at(head: Head, classes: ClassSet, cut: int) -> Activations:
    """Return the class prompts (P, ...) as they enter the text tower at its cut, or as ids.

    Embedded tokens take a thousand times the memory of ids, and no time.
    """
    model = head.model
    prompts = model.encode(head.prompts(classes))
    if not any(stage.name == "block.0" for stage in model.text.stages()[:cut]):
        return prompts
    with torch.no_grad():
        return replace(replace(prompts, chunk=PROMPT_CHUNK).advance(cut), chunk=0)


def _cut(head: Head, batch: Activations) -> int:
    training_mode(head, True)
    cut = batch.tower.frozen_prefix(batch.x, batch.rows)
    with torch.no_grad():
        first, second = batch.advance(cut).x, batch.advance(cut).x
    training_mode(head, False)
    return cut if torch.equal(first, second) else 0


def training_mode(head: Head, mode: bool) -> None:
    """Switch the dropout of a head and of what its strategy injected."""
    head.model.training(mode)
    head.train(mode)


def share_prefix(text: Tower, asked: bool, cuts: Cuts) -> None:
    """Let dropout have one mask for the prefix of all prompts, if the recipe says so.

    Raises:
        ConfigError: No gradient goes through the text tower, or a hook there sees the rows.
    """
    text.share_prefix_dropout = asked
    if not asked:
        return
    if cuts.text is None or cuts.text == len(text.stages()):
        raise ConfigError(
            "--shared-prefix has no effect here: nothing in the text tower is trained.",
            hint="Leave it out.",
        )
    if text.hooks:
        raise ConfigError(
            "--shared-prefix cannot be used: this strategy changes prompts inside the text "
            f"tower (before {min(text.hooks)}), where they must then be whole.",
            hint="Leave it out.",
        )
