"""Miniatures of benchmark datasets in the forms in which people have them on disk.

    manifest = write("vtab/svhn", "list folder", tmp_path)

A module of this package may have `FORMS`: by the name of a form, the datasets that exist in it and
a function that writes one of them. Formats are the real ones; there are only fewer, smaller images.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Labelled:
    """One image of a miniature, as every reader must see it.

    Attributes:
        split: "" where the form has no split that VTAB's follows from, so that readers draw one.
    """

    split: str
    key: str
    label: int
    class_name: str


@dataclass(frozen=True)
class Manifest:
    """What was written.

    Attributes:
        root: The folder to hand to a reader's `find` (what a user gives as --root).
        images: The images of subset "full".
    """

    root: Path
    images: tuple[Labelled, ...]

    def split(self, name: str) -> dict[str, str]:
        """Return the class name of each image of a split, by key."""
        return {image.key: image.class_name for image in self.images if image.split == name}


@dataclass(frozen=True)
class Form:
    """One form: the names of the datasets that exist in it, and who writes them."""

    names: Sequence[str]
    write: Callable[[str, Path], Manifest]


@cache
def forms() -> Mapping[str, Form]:
    """Return every form of every module here, by name."""
    found: dict[str, Form] = {}
    for module in pkgutil.iter_modules(__path__):
        written = getattr(importlib.import_module(f"{__name__}.{module.name}"), "FORMS", {})
        assert not found.keys() & written.keys(), "two modules write one form"
        found |= written
    return found


def forms_of(dataset_name: str) -> list[str]:
    """Return the forms in which a dataset can be written."""
    return [name for name, form in forms().items() if dataset_name in form.names]


def write(dataset_name: str, form: str, root: Path) -> Manifest:
    """Write a dataset ("vtab/svhn") in a form below `root` and return what was written."""
    root.mkdir(parents=True, exist_ok=True)
    return forms()[form].write(dataset_name, root)
