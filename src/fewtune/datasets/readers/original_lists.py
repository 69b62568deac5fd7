"""Files of the authors' archives: class folders, lists, and .mat files.

Functions that return rows return all labelled images of one archive. Keys are paths relative to the
folder of the images, as in CoOp's split files. The split of a row is the authors', "" where they
have none.
"""

import importlib.util
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow, is_number
from fewtune.data.layouts.split_file import SplitEntry, inside, locate
from fewtune.data.scan import listed_file, subfolders
from fewtune.data.text_files import fold_name, numbered_lines, records
from fewtune.datasets.array_files import read_integers, read_mat
from fewtune.datasets.declaration import Dataset
from fewtune.datasets.readers.coop_folders import match_classes
from fewtune.datasets.readers.reader_tools import (
    Keys,
    RowOf,
    class_folders,
    class_name,
    class_rows,
    file_row,
)
from fewtune.datasets.vtab_labels import retinopathy_grade

Rows = Callable[[Path, Dataset], list[LabelledRow]]

# What CoOp leaves out of Caltech101.
SECOND_FACES = ("BACKGROUND_Google", "Faces_easy")
FLOWER_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}


def keyed(rows: Rows, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
    """Return an archive's images by TFDS's splits, which are the authors', or "train" alone."""
    found: dict[str, dict[str, LabelledRow]] = defaultdict(dict)
    for row in rows(location, dataset):
        stored = {"": "train", "val": "validation"}.get(row.split, row.split)
        # Of an image in class folders, TFDS's key is "CLASS_NAME".
        found[stored][row.key if row.split else row.key.replace("/", "_")] = row
    return found, lambda stored, key: found[stored][key]


def caltech101(location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return 101_ObjectCategories/accordion/image_0001.jpg; CoOp leaves two of 102 folders out."""
    return _sorted_folders(location / "101_ObjectCategories", dataset, SECOND_FACES)


def eurosat(location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return 2750/AnnualCrop/AnnualCrop_1.jpg."""
    return _sorted_folders(location / "2750", dataset)


def food101(location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return images/apple_pie/1005649.jpg, without the authors' split, which CoOp does not use."""
    return _sorted_folders(location / "images", dataset)


def resisc45(location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return airplane/airplane_001.jpg."""
    folders = {name.replace(" ", "_"): name for name in dataset.classes}
    return list(class_rows(location, "", folders))


def dtd(location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return images/banded/banded_0002.jpg, in the first of the authors' ten splits."""
    known = {fold_name(name): name for name in dataset.classes}
    rows = []
    for split in ("train", "val", "test"):
        file = location / "labels" / f"{split}1.txt"
        entries = []
        for where, line in numbered_lines(file):
            name = line.partition("/")[0]
            if fold_name(name) not in known:
                raise DataError(f"{where} in {file.parent} names the unknown texture {name!r}.")
            entries.append(SplitEntry(split, inside(line, where), 0, known[fold_name(name)], where))
        rows += locate(entries, location / "images", file)
    return rows


def flowers102(location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return jpg/image_00001.jpg, labelled in imagelabels.mat from 1, in the splits of setid.mat.

    Without setid.mat, as CoOp leaves it, all images have no split.
    """
    file, sets_file = location / "imagelabels.mat", location / "setid.mat"
    labels = read_integers(file, "labels").ravel().tolist()
    splits: dict[str, Sequence[int]] = {"": range(1, len(labels) + 1)}
    if sets_file.is_file():
        splits = {
            split: read_integers(sets_file, name).ravel().tolist()
            for split, name in FLOWER_SPLITS.items()
        }
    entries = []
    for split, images in splits.items():
        for image in images:
            where = f"{file.name}, image {image}"
            if not 1 <= image <= len(labels):
                raise DataError(f"{sets_file} names image {image} of {len(labels)}.")
            name = class_name(dataset, labels[image - 1] - 1, where)
            entries.append(SplitEntry(split, f"image_{image:05d}.jpg", 0, name, where))
    return locate(entries, location / "jpg", file)


def pets(location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return annotations/{trainval,test}.txt: "Abyssinian_100 1 1 1", image and class from 1."""
    rows = []
    for split, list_name in (("train", "trainval"), ("test", "test")):
        file = location / "annotations" / f"{list_name}.txt"
        entries = []
        for where, line in numbered_lines(file):
            image, number = [*line.split(), "", ""][:2]
            if not is_number(number):
                raise DataError(f"{where} in {file.parent} is {line[:60]!r}, expected NAME CLASS.")
            name = class_name(dataset, int(number) - 1, where)
            entries.append(SplitEntry(split, inside(f"{image}.jpg", where), 0, name, where))
        rows += locate(entries, location / "images", file)
    return rows


def cars(location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return cars_train/ and cars_test/, with file names and classes from 1 in .mat files."""
    meta = location / "devkit" / "cars_meta.mat"
    names = [_year_first(str(name)) for name in _entries_of(meta, "class_names")]
    matched, _ = match_classes(names, dataset, meta)
    rows = []
    for split, folder, list_path in (
        ("train", "cars_train", "devkit/cars_train_annos.mat"),
        ("test", "cars_test", "cars_test_annos_withlabels.mat"),
    ):
        file = location / list_path
        entries = []
        for number, annotation in enumerate(_entries_of(file, "annotations"), start=1):
            where = f"{file.name}, annotation {number}"
            try:
                image, label = str(annotation["fname"]), int(annotation["class"]) - 1
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise DataError(f"{where} has no file name and class: {error}.") from error
            class_name(dataset, label, where)
            path = inside(f"{folder}/{image}", where)
            entries.append(SplitEntry(split, path, 0, matched[label], where))
        rows += locate(entries, location, file)
    return rows


def sun397(location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return a/abbey/sun_aaalbzqrimafwbiv.jpg, with the first of the authors' partitions.

    Without Training_01.txt and Testing_01.txt, as torchvision leaves it, all images have no split.
    """
    known = {frozenset(fold_name(name).split()): name for name in dataset.classes}
    lists = {
        split: file
        for split in ("Train", "Test")
        for folder in (location.parent, location)
        if (file := folder / f"{split}ing_01.txt").is_file()
    }
    if len(lists) == 2:
        rows = []
        for split, file in lists.items():
            entries = []
            for where, line in numbered_lines(file):
                path = inside(line.lstrip("/"), where)
                entries.append(SplitEntry(split.lower(), path, 0, _place(path, known), where))
            rows += locate(entries, location, file)
        return rows
    letters = {path.name: "" for path in subfolders(location) if len(path.name) == 1}
    found = class_rows(location, "", letters)
    return [LabelledRow("", r.key, _place(r.key, known), r.source, r.size_bytes) for r in found]


def _sorted_folders(
    folder: Path, dataset: Dataset, ignored: Sequence[str] = ()
) -> list[LabelledRow]:
    """Return the images of class folders, whose sorted names are in the order of the labels."""
    folders = class_folders(folder, dataset, ignored)
    return list(class_rows(folder, "", dict(zip(folders, dataset.classes, strict=True))))


def _entries_of(path: Path, name: str) -> Any:
    """Return the entries of a variable of a MATLAB file, one or several."""
    return np.atleast_1d(read_mat(path, name, squeeze=True)).ravel()


def _year_first(name: str) -> str:
    """Return "2012 Acura RL Sedan" for "Acura RL Sedan 2012"."""
    model, _, year = name.rpartition(" ")
    return f"{year} {model}"


def _place(path: str, known: dict[frozenset[str], str]) -> str:
    """Return the class of "a/apartment_building/outdoor/sun_x.jpg".

    Sources order the words differently: "apartment building outdoor", "outdoor apartment building".
    """
    name = known.get(frozenset(fold_name(" ".join(path.split("/")[1:-1])).split()))
    if name is None:
        raise DataError(f"'{path}' is in no folder of a class.", hint="Unpack SUN397.tar.gz again.")
    return name


def sun397_tfds(location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
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
