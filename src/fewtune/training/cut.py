"""Cuts: where the frozen part of each tower ends. Below its cut everything may be computed once."""

from dataclasses import dataclass

import torch

from fewtune.core.task import ClassSet
from fewtune.model.head import Head
from fewtune.model.towers import Activations, Prompts


@dataclass(frozen=True)
class Cuts:
    """How many leading stages of each tower are frozen; None where a tower is not used."""

    image: int
    text: int | None


def find_cuts(head: Head, classes: ClassSet) -> Cuts:
    """Derive the cuts by sending one image and one prompt through, gradients on.

    Below a cut everything may be computed once, unless two probes in training mode differ there
    (random code in a hook): then the cut is 0.
    """
    model = head.model
    size = model.preprocess.size_px
    image = _cut(head, model.pixels(torch.zeros(1, 3, size, size)))
    if head.classifier == "linear":
        return Cuts(image, None)
    prompts = head.prompts(classes)
    one = Prompts(prompts.texts[:1], prompts.owner[:1], prompts.classes)
    return Cuts(image, _cut(head, model.encode(one)))


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
