"""The authors' archives of CoOp's datasets, where torchvision unpacks them, without CoOp's files.

The images are those of the other forms; which of them are for validation, FewTune draws itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.io import savemat

from fewtune.datasets.dataset_file import listed
from miniatures import Form, Labelled, Manifest
from miniatures.few_shot import SETS, rows_of, write_images

# Where torchvision puts each dataset.
FOLDERS = {
    "fewshot/caltech101": "caltech101",
    "fewshot/pets": "oxford-iiit-pet",
    "fewshot/cars": "stanford_cars",
    "fewshot/flowers102": "flowers-102",
    "fewshot/food101": "food-101",
    "fewshot/sun397": "",
    "fewshot/dtd": "dtd/dtd",
    "fewshot/eurosat": "eurosat",
}
OFFICIAL_TEST = ("fewshot/pets", "fewshot/cars")


def pets(folder: Path, rows: Sequence[Labelled]) -> None:
    """Write annotations/trainval.txt and test.txt."""
    (folder / "annotations").mkdir()
    for name, splits in (("trainval", ("train", "val")), ("test", ("test",))):
        lines = (f"{r.key[:-4]} {r.label + 1} 1 1\n" for r in rows if r.split in splits)
        (folder / "annotations" / f"{name}.txt").write_text("".join(lines))


def cars(folder: Path, rows: Sequence[Labelled]) -> None:
    """Write the MATLAB files with names, labels and files."""
    (folder / "devkit").mkdir()
    names = np.array(listed("stanford_cars"), dtype=object)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    for path, split in (
        ("devkit/cars_train_annos.mat", "train"),
        ("cars_test_annos_withlabels.mat", "test"),
    ):
        of_split = [(r.label + 1, r.key.rpartition("/")[2]) for r in rows if split in r.key]
        table = np.array(of_split, dtype=[("class", object), ("fname", object)])
        savemat(folder / path, {"annotations": table})


def flowers(folder: Path, rows: Sequence[Labelled]) -> None:
    """Write imagelabels.mat and setid.mat."""
    numbers = {int(row.key[6:11]): row for row in rows}
    labels = [numbers[number].label + 1 for number in sorted(numbers)]
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels])})
    sets = {
        name: np.array([[n for n, row in numbers.items() if row.split == split]])
        for name, split in (("trnid", "train"), ("valid", "val"), ("tstid", "test"))
    }
    savemat(folder / "setid.mat", sets)


def food(folder: Path, rows: Sequence[Labelled]) -> None:
    """Write meta/train.json, which FewTune does not need."""
    (folder / "meta").mkdir()
    (folder / "meta" / "train.json").write_text(
        json.dumps({"apple_pie": [r.key for r in rows[:1]]})
    )


def dtd(folder: Path, rows: Sequence[Labelled]) -> None:
    """Write the first of the authors' divisions."""
    (folder / "labels").mkdir()
    for split in ("train", "val", "test"):
        lines = (f"{row.key}\n" for row in rows if row.split == split)
        (folder / "labels" / f"{split}1.txt").write_text("".join(lines))


def caltech(folder: Path, rows: Sequence[Labelled]) -> None:
    """Write the two categories that CoOp leaves out."""
    others = [
        Labelled("", f"{n}/image_0001.jpg", 0, n) for n in ("BACKGROUND_Google", "Faces_easy")
    ]
    write_images(folder / "101_ObjectCategories", others)


LISTS: dict[str, Callable[[Path, Sequence[Labelled]], None]] = {
    "fewshot/pets": pets,
    "fewshot/cars": cars,
    "fewshot/flowers102": flowers,
    "fewshot/food101": food,
    "fewshot/dtd": dtd,
    "fewshot/caltech101": caltech,
}


def archive(name: str, root: Path) -> Manifest:
    """Write an archive; the split of an image is "" where it is FewTune's own."""
    rows = rows_of(name)
    folder = root / FOLDERS[name]
    write_images(folder / SETS[name].images, rows)
    LISTS.get(name, lambda folder, rows: None)(folder, rows)
    kept = "test" if name in OFFICIAL_TEST else "none"
    return Manifest(root, tuple(r if r.split == kept else replace(r, split="") for r in rows))


FORMS = {"few-shot archive": Form(tuple(FOLDERS), archive)}
