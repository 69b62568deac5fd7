"""VTAB-1k as lists: the form of NOAH's `vtab-1k/`, and the only one with the official images as is.

ROOT[/vtab-1k]/NAME/train800.txt val200.txt train800val200.txt test.txt    "PATH LABEL"
ROOT[/vtab-1k]/NAME/images/train800/000000.jpg ..
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.core.naming import counted
from fewtune.data.label_table import LabelledRow, LabelTable
from fewtune.data.layouts.list_folder import TRAIN_LISTS, read_list
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers.reader_tools import as_split, named_rows, size_notes
from fewtune.datasets.vtab_slices import OFFICIAL_NOTE, TRAIN, VAL

PARENTS = ("", "vtab-1k", "VTAB-1k", "vtab1k", "vtab", "processed_vtab")
JPEG_NOTE = "images re-encoded as JPEG, so pixels differ from those of the original files"
WHOLE, TRAINING = TRAIN_LISTS
VALIDATION, TEST = "val200.txt", "test.txt"


@dataclass(frozen=True)
class VtabLists:
    """A dataset of VTAB as lists, in a folder that goes by one of several names."""

    folder_names: tuple[str, ...]

    layout = "VTAB-1k list folder"

    def find(self, root: Path) -> Path | None:
        """Return the first folder of one of the names that holds a list of training images."""
        folders = [root / parent / name for parent in PARENTS for name in self.folder_names]
        if root.name in self.folder_names:
            folders.insert(0, root)
        return next((f for f in folders if any((f / n).is_file() for n in TRAIN_LISTS)), None)

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the listed images; "full" are the 1,000 training images too, for want of more."""
        test = _required(location / TEST, "test")
        rows, notes = _training_rows(location, subset)
        rows += test
        found = Counter(row.split for row in rows)
        official = (TRAIN, VAL) if subset == "800" else (TRAIN + VAL, 0)
        if (found["train"], found["val"]) != official:
            listed = counted(found["train"] + found["val"], "training image")
            notes.append(f"not the official lists: they list {listed}, where VTAB-1k has 1,000")
        else:
            notes.append(OFFICIAL_NOTE)
            if subset == "full":
                notes.append("the lists hold VTAB-1k's 1,000 training images and no more")
        if all(row.key.lower().endswith((".jpg", ".jpeg")) for row in rows):
            notes.append(JPEG_NOTE)
        named = named_rows(rows, dataset)
        notes += size_notes(named, dataset, ("test",))
        return LabelTable(self.layout, tuple(named), dataset.classes, tuple(notes))


def _training_rows(location: Path, subset: Subset) -> tuple[list[LabelledRow], list[str]]:
    """Return train and val of a subset, put together from the lists that are there."""
    whole, training, validation = (location / name for name in (WHOLE, TRAINING, VALIDATION))
    if subset == "800" and training.is_file():
        return read_list(training, "train") + _required(validation, "val"), []
    if subset == "800":
        rows = read_list(whole, "train")
        parted = rows[:TRAIN] + [as_split(row, "val") for row in rows[TRAIN:]]
        return parted, [f"train and val: the first {TRAIN} of {WHOLE}, and the others"]
    if whole.is_file():
        return read_list(whole, "train"), []
    notes = [f"training images: those of {TRAINING} and {VALIDATION}"]
    return read_list(training, "train") + _required(validation, "train"), notes


def _required(path: Path, split: str) -> list[LabelledRow]:
    if not path.is_file():
        raise DataError(
            f"{path.parent} has no {path.name}.", hint="Copy it next to the other lists."
        )
    return read_list(path, split)
