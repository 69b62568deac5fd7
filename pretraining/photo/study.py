"""Tasks of the study on photographs: split files next to the fetched images, each verified.

`WORK/tasks/<task>/split_<task>.json` is in CoOp's form and lists images by path, label and class
name; the images stay where `download` unpacked them. `study_data.json` holds how many images each
split has, and a digest of every path, label and file, so that a run of the study can be repeated on
the same bytes. No image is in the repository.
"""

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pretraining.photo.evaluate import CLOTHING
from pretraining.photo.sources import photos_of

PINNED = Path(__file__).with_name("study_data.json")
SEED = 0
TRAIN, VAL = 100, 16  # images of each class, where a set has no such splits of its own
# What folders are called, and what stands in the prompts where that differs.
FLOWERS = {
    "colts-foot": "colt's foot",
    "lily-valley": "lily of the valley",
    "tigerlily": "tiger lily",
}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Rows = list[tuple[str, str]]  # path below the source's folder, class name
Splits = dict[str, Rows]


def _files(source: Path, folder: str, name: str) -> Rows:
    """Return the files of a class folder, in an order that only depends on their names."""
    paths = sorted(path.relative_to(source).as_posix() for path in (source / folder).iterdir())
    random.Random(f"{SEED} {folder}").shuffle(paths)
    return [(path, name) for path in paths]


def _joined(parts: Iterable[Splits]) -> Splits:
    joined: Splits = {"train": [], "val": [], "test": []}
    for part in parts:
        for split, rows in part.items():
            joined[split] += rows
    return joined


def clothing(source: Path) -> Splits:
    """The set's own three splits."""
    folders = {"train": "train", "val": "validation", "test": "test"}
    return {
        split: [
            row for key, name in CLOTHING.items() for row in _files(source, f"{of}/{key}", name)
        ]
        for split, of in folders.items()
    }


def flowers(source: Path) -> Splits:
    """Its own test images; 16 of each class' 60 training images are for validation."""
    root = "lab3/flowers"

    def of_class(folder: str) -> Splits:
        name = FLOWERS.get(folder, folder)
        train = _files(source, f"{root}/train/{folder}", name)
        test = _files(source, f"{root}/test/{folder}", name)
        return {"train": train[VAL:], "val": train[:VAL], "test": test}

    return _joined(of_class(path.name) for path in sorted((source / root / "test").iterdir()))


def pets(source: Path) -> Splits:
    """Three breeds, official test images; 16 training images of each are for validation."""

    def listed(split: str) -> dict[str, Rows]:
        text = (source / "annotations" / f"{split}.txt").read_text(encoding="utf-8")
        found: dict[str, Rows] = {}
        for stem in sorted(line.split()[0] for line in text.splitlines()):
            name = stem.rpartition("_")[0].replace("_", " ").lower()
            found.setdefault(name, []).append((f"images/{stem}.jpg", name))
        return found

    train, test = listed("trainval"), listed("test")
    for name, rows in train.items():
        random.Random(f"{SEED} {name}").shuffle(rows)
    return _joined(
        {"train": train[name][VAL:], "val": train[name][:VAL], "test": test[name]} for name in train
    )


def sign_digits(source: Path) -> Splits:
    """A split of our own, for the set has none: a person's hand may be in several splits."""
    parts = []
    for digit, name in enumerate(DIGITS):
        rows = _files(source, f"Dataset/{digit}", f"hand that shows the digit {name}")
        parts.append(
            {"train": rows[:TRAIN], "val": rows[TRAIN:][:VAL], "test": rows[TRAIN + VAL :]}
        )
    return _joined(parts)


TASKS: dict[str, tuple[str, Callable[[Path], Splits]]] = {
    "clothing": ("clothing-small", clothing),
    "flowers": ("flowers", flowers),
    "pets": ("pets", pets),
    "sign-digits": ("sign-digits", sign_digits),
}


def write_tasks(work: Path) -> None:
    """Write every task below `WORK/tasks` and compare it with what the study was run on.

    Raises:
        SystemExit: Images or splits differ.
    """
    photos = photos_of(work).absolute()
    target = work / "tasks"
    found = {"caltech101": _caltech(photos, target / "caltech-101")}
    for name, (folder, split) in TASKS.items():
        images = photos / folder
        found[name] = _write(split(images), name, images, target / name)
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))
    if differing := [name for name, facts in found.items() if facts != pinned[name]]:
        raise SystemExit(f"Not what the study was run on: {', '.join(differing)}.")
    for name, facts in found.items():
        print(f"{name}: {facts['images']}, as in the study")


def _caltech(photos: Path, target: Path) -> dict[str, Any]:
    """Lay Caltech101 out as CoOp's folder, which `fewshot/caltech101` reads."""
    name = "split_zhou_Caltech101.json"
    images = photos / "caltech101" / "101_ObjectCategories"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(photos / "caltech101-split" / name, target / name)
    _link(target / "101_ObjectCategories", images)
    return facts(json.loads((target / name).read_text(encoding="utf-8")), images)


def _write(splits: Splits, name: str, images: Path, target: Path) -> dict[str, Any]:
    labels = {title: label for label, title in enumerate(sorted({n for _, n in splits["train"]}))}
    listed = {
        split: [[path, labels[title], title] for path, title in sorted(rows)]
        for split, rows in splits.items()
    }
    target.mkdir(parents=True, exist_ok=True)
    (target / f"split_{name}.json").write_text(json.dumps(listed), encoding="utf-8")
    _link(target / "images", images)
    return facts(listed, images)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target, target_is_directory=True)


def facts(splits: dict[str, list[Any]], images: Path) -> dict[str, Any]:
    """Return the sizes of the splits, and a digest of every path, label, class and file."""
    digest = hashlib.sha256()
    for split in ("train", "val", "test"):
        for path, label, title in sorted(splits[split]):
            content = hashlib.sha256((images / path).read_bytes()).hexdigest()
            digest.update(f"{split}\t{path}\t{label}\t{title}\t{content}\n".encode())
    sizes = " / ".join(str(len(splits[split])) for split in ("train", "val", "test"))
    return {"images": sizes, "sha256": digest.hexdigest()}
