"""Prompts that declarations share: lists of class names, and templates of several datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewtune.data.text_files import read_lines
from fewtune.datasets.declaration import PromptSet, PromptSource

LISTS = Path(__file__).parent / "classes"
PHOTO = "a photo of a {}."
# CoOp's ensemble, also that of Tip-Adapter on ImageNet.
SEVEN = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


def listed(name: str) -> tuple[str, ...]:
    """Return the lines of a list of this package."""
    return tuple(read_lines(LISTS / f"{name}.txt"))


def renamed(classes: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return, by class, the names that differ from it; both are in the order of the labels."""
    pairs = zip(classes, names, strict=True)
    return {known: name for known, name in pairs if name != known.replace("_", " ")}


def coop(template: str) -> dict[PromptSource, PromptSet]:
    """Return the prompts of CoOp, CLIP-LoRA and CLIPFit for a dataset.

    CoOp and CLIPFit have a template for each (another one for textures alone), CLIP-LoRA one for
    everything. All use the class names of CoOp's split files.
    """
    return {
        "coop": PromptSet((template,)),
        "coop-ensemble": PromptSet(SEVEN if template == PHOTO else (*SEVEN, template)),
        "clip-lora": PromptSet((PHOTO,)),
        "clipfit": PromptSet((template,)),
    }
