"""SUN397 and the retinopathy images of VTAB, as lists of files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow, is_number
from fewtune.data.scan import listed_file
from fewtune.data.text_files import numbered_lines, records
from fewtune.datasets.declaration import Dataset
from fewtune.datasets.readers.reader_tools import Keys, RowOf, file_row
from fewtune.datasets.vtab_labels import retinopathy_grade


def sun397(location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
    """Return a/abbey/IMAGE, divided by TFDS's lists."""
    classes = {name.replace(" ", "_"): name for name in dataset.classes}
    places: dict[str, str] = {}
    keys: dict[str, list[str]] = {}
    for stored, path in sun397_lists(location).items():
        listed = numbered_lines(path)
        keys[stored] = [key for _, key in listed]
        places |= {key: where for where, key in listed}

    def row(stored: str, key: str) -> LabelledRow:
        file = listed_file(location, key.lstrip("/"), places[key])
        folder = "_".join(file.relative.split("/")[1:-1])
        if folder not in classes:
            raise DataError(
                f"{places[key]} names the class '{folder}', which SUN397 does not have."
            )
        name = classes[folder]
        return LabelledRow("", file.relative, name, file.path, file.size_bytes, places[key])

    return keys, row


def sun397_lists(location: Path) -> dict[str, Path]:
    """Return TFDS's lists by split; none if they are not there.

    sun397_tfds_{tr,va,te}.txt are a part of the package tensorflow-datasets; they are looked for
    there, in the folder, and next to it. The package is not imported.
    """
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


def retinopathy(location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
    """Return the images of trainLabels.csv and retinopathy_solution.csv as they are.

    Validation is Kaggle's public part of the test images. VTAB's images are those of TFDS's
    configuration btgraham-300: the eye scaled to a radius of 300 px, the local mean subtracted, the
    rim cut off.
    """
    levels: dict[str, tuple[str, int, str]] = {}
    keys: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    stored_of = {"": "train", "public": "validation", "private": "test"}
    for table, folder in (("trainLabels.csv", "train"), ("retinopathy_solution.csv", "test")):
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

    def row(stored: str, key: str) -> LabelledRow:
        stem, grade, where = levels[key]
        suffixes = (".jpeg", ".jpg", ".png")
        found = next((s for s in suffixes if (location / f"{stem}{s}").is_file()), ".jpeg")
        return file_row(location, f"{stem}{found}", dataset, grade, where)

    return keys, row
