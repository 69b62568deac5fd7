"""Checks and tables that all readers share: class names, splits, what is not as declared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow, LabelTable
from fewtune.data.scan import listed_file
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.vtab_subset import own_draw, take_subset

# TFDS's keys of all images, by TFDS's split.
Keys = Mapping[str, Collection[str]]
# Makes the row of TFDS's split and key, in the authors' split or in none.
RowOf = Callable[[str, str], LabelledRow]
Images = Callable[[Path, Dataset], tuple[Keys, RowOf]]


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


def file_row(
    location: Path, relative: str, dataset: Dataset, label: int, where: str
) -> LabelledRow:
    """Return the row of an image file below `location`; `where` says what labels it.

    Raises:
        DataError: There is no such file or class.
    """
    file = listed_file(location, relative, where)
    name = class_name(dataset, label, where)
    return LabelledRow("", file.relative, name, file.path, file.size_bytes, where)


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
