"""Checks and tables that all readers share: class names, splits, what is not as declared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow, LabelTable
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers.locations import find_folder
from fewtune.datasets.vtab_slices import PLAIN, Slices, choose, slice_notes
from fewtune.datasets.vtab_subset import own_draw, take_subset

# By TFDS's split.
Keys = Mapping[str, Sequence[str]]
# Of the split, TFDS's split and TFDS's key.
RowOf = Callable[[str, str, str], LabelledRow]


def class_name(dataset: Dataset, label: int, where: str) -> str:
    """Return the class with this label.

    Raises:
        DataError: There is no such class; `where` says what carries the label.
    """
    if not 0 <= label < len(dataset.classes):
        raise DataError(
            f"{where} has label {label}, but the labels of {dataset.title} run from 0 to "
            f"{len(dataset.classes) - 1}.",
            hint="Check that this folder holds that dataset.",
        )
    return dataset.classes[label]


def named_rows(rows: Iterable[LabelledRow], dataset: Dataset) -> list[LabelledRow]:
    """Return the rows of a list, which has labels where class names stand, with class names.

    Raises:
        DataError: A label is out of range.
    """
    return [
        replace(row, class_name=class_name(dataset, int(row.class_name), row.where)) for row in rows
    ]


def make_table(
    layout: str,
    rows: Iterable[LabelledRow],
    dataset: Dataset,
    subset: Subset,
    notes: Sequence[str] = (),
) -> LabelTable:
    """Return the table of a form without official lists: whole splits, or FewTune's own draw."""
    whole = tuple(rows)
    chosen, drawn = take_subset(whole, subset)
    splits = ("train", "val", "test") if subset == "full" else ("test",)
    return LabelTable(
        layout, chosen, dataset.classes, (*drawn, *notes, *size_notes(whole, dataset, splits))
    )


class OriginalFiles(ABC):
    """A reader of the authors' files, whose images can be put into the order of TFDS.

    Attributes:
        layout: The form, for people.
        folders: Names of the folder.
        needed: What the folder holds.
        slices: VTAB's splits in TFDS's.
        notes: What to say of the images.
    """

    layout: str
    folders: tuple[str, ...]
    needed: tuple[str, ...]
    slices: Slices = PLAIN
    notes: tuple[str, ...] = ()

    def find(self, root: Path) -> Path | None:
        """Return the folder."""
        return find_folder(root, self.folders, *self.needed)

    @abstractmethod
    def images(self, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
        """Return TFDS's keys of all images, and what makes the row of one."""

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the rows in VTAB's splits."""
        keys, row = self.images(location, dataset)
        rows = tuple(row(*chosen) for chosen in choose(keys, self.slices, subset))
        counts = {stored: len(of_split) for stored, of_split in keys.items()}
        told = slice_notes(counts, self.slices, dataset, subset)
        return LabelTable(self.layout, rows, dataset.classes, (*told, *self.notes))


def size_notes(
    rows: Iterable[LabelledRow], dataset: Dataset, splits: Sequence[str]
) -> tuple[str, ...]:
    """Return a note for each split with another number of images than is declared."""
    found = Counter(row.split for row in rows)
    return tuple(
        f"{found[split]:,} {split} images, where the dataset has {dataset.sizes[split]:,}"
        for split in splits
        if found[split] and not dataset.has_size(split, found[split])
    )


def divide(rows: Sequence[LabelledRow], shares: Sequence[tuple[str, float]]) -> list[LabelledRow]:
    """Return the rows in splits of the given shares, stratified and by key alone.

    Args:
        shares: Split and share of each part; the last part takes the rest.
    """
    ordered = own_draw(rows, "+".join(split for split, _ in shares))
    divided: list[LabelledRow] = []
    for split, share in shares[:-1]:
        start = len(divided)
        part = ordered[start : start + int(share * len(rows))]
        divided += [as_split(row, split) for row in part]
    return divided + [as_split(row, shares[-1][0]) for row in ordered[len(divided) :]]


def as_split(row: LabelledRow, split: str) -> LabelledRow:
    """Return the row in another split."""
    return replace(row, split=split)
