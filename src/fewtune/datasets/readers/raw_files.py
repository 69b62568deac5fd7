"""VTAB's tasks whose original files hold one image each.

Splits are VTAB's by `fewtune.datasets.vtab_slices`, except Caltech101's, which TFDS drew from a
listing of files in the order of somebody's disk.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow, LabelTable, is_number
from fewtune.data.scan import listed_file, subfolders
from fewtune.data.text_files import numbered_lines, records
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers import original_lists
from fewtune.datasets.readers.checks import (
    Keys,
    OriginalFiles,
    RowOf,
    as_split,
    class_name,
    divide,
    make_table,
)
from fewtune.datasets.readers.class_folders import class_rows
from fewtune.datasets.readers.functions import named
from fewtune.datasets.readers.locations import find_folder
from fewtune.datasets.vtab_labels import retinopathy_grade
from fewtune.datasets.vtab_slices import PLAIN, Slices
from fewtune.datasets.vtab_subset import own_draw


@dataclass(frozen=True)
class AuthorsFiles(OriginalFiles):
    """A dataset whose images the authors list or put into class folders.

    Attributes:
        rows: Returns all rows, their keys relative to the folder of images; their split is the
            authors', or "" where they have none.
        slices: As of `OriginalFiles`; TFDS's splits are the authors', or "train" alone.
    """

    layout: str
    folders: tuple[str, ...]
    needed: tuple[str, ...]
    rows: Annotated[Callable[[Path, Dataset], list[LabelledRow]], named(ROWS)]
    slices: Slices = PLAIN
    notes: tuple[str, ...] = ()

    def images(self, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
        """Return keys and rows."""
        found: dict[str, dict[str, LabelledRow]] = {
            part.stored: {} for part in self.slices.parts("full")
        }
        for row in self.rows(location, dataset):
            stored = {"": "train", "val": "validation"}.get(row.split, row.split)
            # Of an image in class folders, TFDS's key is "CLASS_NAME".
            key = row.key if row.split else row.key.replace("/", "_")
            found[stored][key] = row
        keys = {stored: list(of_split) for stored, of_split in found.items()}
        return keys, lambda split, stored, key: as_split(found[stored][key], split)


def resisc45(location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return airplane/airplane_001.jpg."""
    folders = {name.replace(" ", "_"): name for name in dataset.classes}
    return list(class_rows(location, "", folders))


ROWS = {
    "dtd": original_lists.dtd,
    "eurosat": original_lists.eurosat,
    "flowers102": original_lists.flowers102,
    "pets": original_lists.pets,
    "resisc45": resisc45,
}


@dataclass(frozen=True)
class Caltech101:
    """101_ObjectCategories: 30 images of each class for training, the others for testing."""

    layout = "101_ObjectCategories"

    def find(self, root: Path) -> Path | None:
        """Return the folder that holds the folders of classes."""
        names = ("caltech101", "caltech-101", "Caltech101")
        return find_folder(root, names, "101_ObjectCategories/accordion")

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return an own split of TFDS's sizes."""
        of_class: dict[str, list[LabelledRow]] = {name: [] for name in dataset.classes}
        images = location / "101_ObjectCategories"
        known = {name.lower(): name for name in dataset.classes}
        folders = {
            f.name: known[f.name.lower()] for f in subfolders(images) if f.name.lower() in known
        }
        for row in class_rows(images, "", folders):
            of_class[row.class_name].append(row)
        train: list[LabelledRow] = []
        test: list[LabelledRow] = []
        for rows in of_class.values():
            drawn = own_draw(rows, "caltech101")
            train += drawn[:30]
            test += [as_split(row, "test") for row in drawn[30:]]
        divided = divide(train, (("train", 0.9), ("val", 0.1)))
        note = "own test split: which 30 images of a class TFDS drew depends on a machine's listing"
        return make_table(self.layout, [*divided, *test], dataset, subset, (note,))


@dataclass(frozen=True)
class Sun397(OriginalFiles):
    """SUN397/a/abbey/IMAGE, divided by TFDS's lists.

    The lists sun397_tfds_{tr,va,te}.txt are a part of the package tensorflow-datasets; they are
    looked for there, in the folder, and next to it. The package is not imported.
    """

    layout = "SUN397 folders and TFDS's lists"
    folders = ("SUN397", "sun397/SUN397", "sun397")
    needed = ("a/abbey",)

    def find(self, root: Path) -> Path | None:
        """Return the folder with a folder for each letter, if the lists can be found."""
        found = super().find(root)
        return found if found and _sun_lists(found) else None

    def images(self, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
        """Return keys and rows of the listed images."""
        classes = {name.replace(" ", "_"): name for name in dataset.classes}
        files: dict[str, tuple[str, str]] = {}
        keys: dict[str, list[str]] = {}
        for stored, path in _sun_lists(location).items():
            listed = numbered_lines(path)
            keys[stored] = [key for _, key in listed]
            files |= {key: (key.lstrip("/"), where) for where, key in listed}

        def row(split: str, _: str, key: str) -> LabelledRow:
            relative, where = files[key]
            file = listed_file(location, relative, where)
            folder = "_".join(relative.split("/")[1:-1])
            named = classes.get(folder)
            if named is None:
                raise DataError(f"{where} names the class '{folder}', which SUN397 does not have.")
            return LabelledRow(split, file.relative, named, file.path, file.size_bytes, where)

        return keys, row


@dataclass(frozen=True)
class Retinopathy(OriginalFiles):
    """Kaggle's diabetic-retinopathy-detection: trainLabels.csv, retinopathy_solution.csv, images.

    Images of `train/` and `test/` are used as they are. VTAB's are those of TFDS's configuration
    btgraham-300: the eye scaled to a radius of 300 px, the local mean subtracted, the rim cut off.
    """

    layout = "Kaggle's csv files and images"
    folders = (
        "diabetic-retinopathy-detection",
        "diabetic_retinopathy",
        "diabetic_retinopathy_detection",
        "retinopathy",
    )
    needed = ("trainLabels.csv", "retinopathy_solution.csv")
    notes = (
        "images as they lie there; VTAB's are preprocessed (TFDS's btgraham-300: eye radius "
        "300 px, local mean subtracted)",
    )

    def images(self, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
        """Return keys and rows; validation is Kaggle's public part of the test images."""
        levels: dict[str, tuple[str, int, str]] = {}
        keys: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        stored_of = {"": "train", "public": "validation", "private": "test"}
        for table, folder in zip(self.needed, ("train", "test"), strict=True):
            for record in records(location / table):
                where = f"{table} line {record.line}"
                name, level = str(record.values.get("image")), str(record.values.get("level"))
                usage = str(record.values.get("usage") or "").lower()
                if not is_number(level) or usage not in stored_of:
                    raise DataError(
                        f"{where} in {location} is {record.values}, expected image, level (0 to 4)"
                        " and, of test images, Usage (Public or Private)."
                    )
                keys[stored_of[usage]].append(name)
                levels[name] = f"{folder}/{name}", retinopathy_grade(int(level)), where

        def row(split: str, _: str, key: str) -> LabelledRow:
            stem, grade, where = levels[key]
            suffixes = (".jpeg", ".jpg", ".png")
            named = next((s for s in suffixes if (location / f"{stem}{s}").is_file()), ".jpeg")
            file = listed_file(location, f"{stem}{named}", where)
            label = class_name(dataset, grade, where)
            return LabelledRow(split, file.relative, label, file.path, file.size_bytes, where)

        return keys, row


def _sun_lists(location: Path) -> dict[str, Path]:
    """Return TFDS's lists by split, from the folder or the installed package; none if not there."""
    folders = [location, location.parent]
    package = importlib.util.find_spec("tensorflow_datasets")
    for place in (package.submodule_search_locations or ()) if package else ():
        folders.append(Path(place) / "image_classification")
    names = {"train": "tr", "validation": "va", "test": "te"}
    for folder in folders:
        lists = {split: folder / f"sun397_tfds_{short}.txt" for split, short in names.items()}
        if all(path.is_file() for path in lists.values()):
            return lists
    return {}
