"""Rows from folders of images that are named after classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.core.naming import counted
from fewtune.data.label_table import LabelledRow, is_number, plain
from fewtune.data.scan import Skipped, images_below, subfolders
from fewtune.datasets.declaration import Dataset


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
