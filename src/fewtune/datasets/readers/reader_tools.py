"""What all readers share: where a dataset lies, its class folders, checked labels, its table."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BeforeValidator

from fewtune.core.errors import DataError, did_you_mean
from fewtune.core.naming import counted
from fewtune.data.label_table import LabelledRow, LabelTable, is_number, plain
from fewtune.data.scan import Skipped, images_below, listed_file, subfolders
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.vtab_slices import own_draw, take_subset

GROUPS = ("", "few-shot", "domain-generalization", "data")
# TFDS's keys of all images, by TFDS's split.
Keys = Mapping[str, Collection[str]]
# Makes the row of TFDS's split and key, in the authors' split or in none.
RowOf = Callable[[str, str], LabelledRow]
Images = Callable[[Path, Dataset], tuple[Keys, RowOf]]


def find_folder(root: Path, folders: Sequence[str], *needed: str) -> Path | None:
    """Return the first folder of one of these names that holds all that is needed, as patterns.

    It may stand in the root, in a folder for its group, or be the root itself.
    """
    places = [root / group / folder for group in GROUPS for folder in folders]
    for place in (*places, root):
        # os.path, since a place that may not be entered holds nothing for us.
        if os.path.isdir(place) and all(any(place.glob(name)) for name in needed):
            return place
    return None


def named(functions: Mapping[str, Callable[..., Any]]) -> BeforeValidator:
    """Let a file name the function that a reader takes."""

    def function(name: object) -> object:
        if isinstance(name, str) and name not in functions:
            raise ValueError(f"there is no {name!r}. {did_you_mean(name, functions)}")
        return functions[name] if isinstance(name, str) else name

    return BeforeValidator(function)


def class_folders(folder: Path, dataset: Dataset, ignored: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the class folders, sorted, as numbers where all are.

    Raises:
        DataError: There are more or fewer than the dataset has classes.
    """
    names = [path.name for path in subfolders(folder) if path.name not in ignored]
    if len(names) != len(dataset.classes):
        raise DataError(
            f"{folder} has {counted(len(names), 'class folder')}, but {dataset.title} has "
            f"{len(dataset.classes)} classes.",
            hint="Each class must have its folder, with the name that the authors gave it.",
        )
    return tuple(sorted(names, key=int) if all(map(is_number, names)) else names)


def class_rows(
    folder: Path, split: str, names: Mapping[str, str], prefix: str = ""
) -> Iterator[LabelledRow]:
    """Yield the images of class folders, sorted within each.

    Args:
        names: Class of each folder, in the order in which they are read.
        prefix: What keys begin with, before the name of the class folder.
    """
    for class_folder, name in names.items():
        for file in images_below(folder / class_folder, Skipped()):
            key = plain(f"{prefix}{class_folder}/{file.relative}")
            yield LabelledRow(split, key, name, file.path, file.size_bytes)


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
