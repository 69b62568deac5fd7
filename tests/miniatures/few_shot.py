"""CoOp's datasets: its own folders, CLIP-LoRA's, those with the lists of NOAH and of 2SFS.

Every class has a training image; the first four and the last have two, and one for validation and
one for testing. The rows of a split file stand in no order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fewtune.datasets import catalog
from fewtune.datasets.dataset_file import listed
from fixtures import encoded, picture
from miniatures import Form, Labelled, Manifest

SHOTS, SEEDS = (1, 2), (0, 1)


@dataclass(frozen=True)
class Set:
    """How one dataset names its files.

    Attributes:
        folders: CoOp's folder, and CLIP-LoRA's.
        split_file: The part of its name after "split_zhou_".
        images: Folder of the images.
        path: Path of an image, of (split, label, number within the dataset).
        noah: NOAH's folder.
    """

    folders: tuple[str, str]
    split_file: str
    images: str
    path: Callable[[str, int, int], str]
    noah: str = ""


def caltech_folder(label: int) -> str:
    """Return the folder of a class; those of four have other names than the class."""
    name = listed("caltech101_coop")[label]
    others = {"face": "Faces", "leopard": "Leopards", "motorbike": "Motorbikes"}
    return (others | {"airplane": "airplanes"}).get(name, name)


def breed(label: int) -> str:
    """Return what file names begin with; cats have capital letters."""
    return listed("pets_openai")[label].replace(" ", "_")


def sun_folder(label: int) -> str:
    """Return "a/apartment_building/outdoor" of the class "outdoor apartment_building"."""
    place = "/".join(reversed(listed("sun397_coop")[label].split()))
    return f"{place[0]}/{place}"


def _in_class_folder(name: str, pattern: str) -> Callable[[str, int, int], str]:
    classes = [c.replace(" ", "_") for c in catalog.load(f"fewshot/{name}").classes]
    return lambda split, label, n: f"{classes[label]}/{pattern.format(classes[label], n)}"


EUROSAT = (
    "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential "
    "River SeaLake"
).split()
SETS: Mapping[str, Set] = {
    "fewshot/caltech101": Set(
        ("caltech-101", "Caltech101"),
        "Caltech101",
        "101_ObjectCategories",
        lambda split, label, n: f"{caltech_folder(label)}/image_{n:04d}.jpg",
    ),
    "fewshot/pets": Set(
        ("oxford_pets", "OxfordPets"),
        "OxfordPets",
        "images",
        lambda split, label, n: f"{breed(label)}_{n}.jpg",
        "oxford-pets",
    ),
    "fewshot/cars": Set(
        ("stanford_cars", "StanfordCars"),
        "StanfordCars",
        "",
        lambda split, label, n: f"cars_{'test' if split == 'test' else 'train'}/{n:05d}.jpg",
        "standford-cars",
    ),
    "fewshot/flowers102": Set(
        ("oxford_flowers", "Flower102"),
        "OxfordFlowers",
        "jpg",
        lambda split, label, n: f"image_{n:05d}.jpg",
        "oxford-flowers102",
    ),
    "fewshot/food101": Set(
        ("food-101", "Food101"), "Food101", "images", _in_class_folder("food101", "{1}.jpg"),
        "food101",
    ),
    "fewshot/aircraft": Set(
        ("fgvc_aircraft", "fgvc_aircraft"), "", "images", lambda split, label, n: f"{n:07d}.jpg",
        "fgvc-aircraft",
    ),
    "fewshot/sun397": Set(
        ("sun397", "SUN397"), "SUN397", "SUN397",
        lambda split, label, n: f"{sun_folder(label)}/sun_{n}.jpg",
    ),
    "fewshot/dtd": Set(
        ("dtd", "DTD"), "DescribableTextures", "images", _in_class_folder("dtd", "{0}_{1:04d}.jpg")
    ),
    "fewshot/eurosat": Set(
        ("eurosat", "eurosat"), "EuroSAT", "2750",
        lambda split, label, n: f"{EUROSAT[label]}/{EUROSAT[label]}_{n}.jpg",
    ),
    "fewshot/ucf101": Set(
        ("ucf101", "UCF101"), "UCF101", "UCF-101-midframes",
        _in_class_folder("ucf101", "v_{0}_g01_c{1}.jpg"),
    ),
}  # fmt: skip


def rows_of(name: str) -> list[Labelled]:
    """Return the images of a dataset, in the order of its split file."""
    classes = catalog.load(name).classes
    stream = random.Random(name)
    rows = []
    number = 0
    more = {0, 1, 2, 3, len(classes) - 1}
    for split in ("train", "val", "test"):
        of_split = []
        for label, class_name in enumerate(classes):
            for _ in range((split == "train") + (label in more)):
                number += 1
                key = SETS[name].path(split, label, number)
                of_split.append(Labelled(split, key, label, class_name))
        stream.shuffle(of_split)
        rows += of_split
    return rows


def write_images(folder: Path, rows: Sequence[Labelled]) -> None:
    """Write a small picture for each row, no two alike."""
    for parent in {(folder / row.key).parent for row in rows}:
        parent.mkdir(parents=True, exist_ok=True)
    for row in rows:
        (folder / row.key).write_bytes(_image(row.key))


@cache
def _image(key: str) -> bytes:
    return encoded(picture(key, (8, 8)), "JPEG")


def write_split(path: Path, rows: Sequence[Labelled]) -> None:
    """Write a split file."""
    lists = {
        split: [[row.key, row.label, row.class_name] for row in rows if row.split == split]
        for split in ("train", "val", "test")
    }
    path.write_text(json.dumps(lists, indent=4), encoding="utf-8")


def write_aircraft_lists(folder: Path, rows: Sequence[Labelled]) -> None:
    """Write variants.txt and the three lists of FGVC-Aircraft."""
    variants = catalog.load("fewshot/aircraft").classes
    (folder / "variants.txt").write_text("".join(f"{name}\n" for name in variants))
    for split in ("train", "val", "test"):
        lines = (f"{r.key[:-4]} {r.class_name}\n" for r in rows if r.split == split)
        (folder / f"images_variant_{split}.txt").write_text("".join(lines))


def coop(name: str, root: Path, which: int = 0) -> Manifest:
    """Write CoOp's folder, or with `which` 1 CLIP-LoRA's."""
    kind, rows = SETS[name], rows_of(name)
    folder = root / kind.folders[which]
    write_images(folder / kind.images, rows)
    if kind.split_file:
        write_split(folder / f"split_zhou_{kind.split_file}.json", rows)
    else:
        write_aircraft_lists(folder, rows)
    return Manifest(root, tuple(rows))


def two_sfs(name: str, root: Path) -> Manifest:
    """Write CoOp's folder with the few-shot lists of 2SFS."""
    written = coop(name, root)
    kind = SETS[name]
    lists = root / kind.folders[0] / "split_fewshot"
    lists.mkdir()
    for shots, seed, split, rows in few_shot_lists(written.images):
        values = [
            {
                "_impath": "/".join(filter(None, (kind.folders[0], kind.images, row.key))),
                "_label": row.label,
                "_domain": -1,
                "_classname": row.class_name,
            }
            for row in rows
        ]
        text = "".join(json.dumps(value) + "\n" for value in values)
        (lists / f"shot_{shots}-seed_{seed}_{split}.jsonl").write_text(text)
    return written


def few_shot_lists(
    rows: Sequence[Labelled],
) -> list[tuple[int, int, str, list[Labelled]]]:
    """Return (shots, seed, split, rows) of published draws: the last rows of each class."""
    lists = []
    for shots in SHOTS:
        for seed in SEEDS:
            for split in ("train", "val"):
                drawn: dict[int, list[Labelled]] = {}
                for row in rows if seed else reversed(rows):
                    if row.split == split and len(drawn.setdefault(row.label, [])) < shots:
                        drawn[row.label].append(row)
                lists.append((shots, seed, split, [r for of in drawn.values() for r in of]))
    return lists


def noah(name: str, root: Path) -> Manifest:
    """Write NOAH's folder: no list of all training images, but for OxfordPets."""
    kind, rows = SETS[name], rows_of(name)
    folder = root / "few-shot" / kind.noah
    write_images(folder if name == "fewshot/cars" else folder / "images", rows)
    lists = folder / "annotations"
    lists.mkdir()
    listed = set()
    for shots, seed, split, drawn in few_shot_lists(rows):
        if split == "train":
            twice = name == "fewshot/pets" and shots == 1
            text = "".join(f"{r.key} {r.label}\n" * (1 + twice) for r in drawn)
            (lists / f"train_meta.list.num_shot_{shots}.seed_{seed}").write_text(text)
            listed |= set(drawn)
    if name == "fewshot/pets":
        listed = set(rows)
        write_list(lists / "train_meta.list", [r for r in rows if r.split == "train"])
    for split in ("val", "test"):
        write_list(lists / f"{split}_meta.list", [r for r in rows if r.split == split])
    return Manifest(root, tuple(r for r in rows if r.split != "train" or r in listed))


def write_list(path: Path, rows: Sequence[Labelled]) -> None:
    """Write lines "PATH LABEL"."""
    path.write_text("".join(f"{row.key} {row.label}\n" for row in rows))


FORMS = {
    "CoOp folder": Form(tuple(SETS), coop),
    "CLIP-LoRA folder": Form(("fewshot/pets", "fewshot/dtd"), lambda n, root: coop(n, root, 1)),
    "2SFS lists": Form(("fewshot/cars", "fewshot/aircraft", "fewshot/dtd"), two_sfs),
    "NOAH lists": Form(("fewshot/pets", "fewshot/cars", "fewshot/flowers102"), noah),
}
