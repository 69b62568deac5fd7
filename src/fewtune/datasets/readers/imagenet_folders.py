"""ImageNet and its variants, as folders of images per class.

    ROOT/imagenet/images/train/n01440764/n01440764_18.JPEG    CoOp; without images/: CLIP-LoRA
    ROOT/imagenet/images/val/n01440764/ILSVRC2012_val_00000293.JPEG
    ROOT/imagenet/classnames.txt                              "n01440764 tench", one line per class
    ROOT/imagenetv2/imagenetv2-matched-frequency-format-val/0/...jpeg
    ROOT/imagenet-sketch/images/n01440764/sketch_0.JPEG
    ROOT/imagenet-adversarial/imagenet-a/n01498041/...jpg
    ROOT/imagenet-rendition/imagenet-r/n01443537/art_0.jpg

Labels follow the sorted folder names. The 50,000 images in `val` are the test split, as in every
paper; there is no validation split, since CoOp's is the same images again. Files are sorted, as
CLIP-LoRA and torchvision sort them; CoOp takes them as the file system lists them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.core.naming import counted
from fewtune.data.label_table import LabelledRow, LabelTable, is_number
from fewtune.data.scan import subfolders
from fewtune.data.text_files import read_lines
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers.coop_folders import read_jsonl_draws
from fewtune.datasets.readers.reader_tools import class_folders, class_rows, find_folder, size_notes

FOLDERS = ("imagenet", "ImageNet", "imagenet-1k", "imagenet1k", "ILSVRC2012")
NAMES = "classnames.txt"


@dataclass(frozen=True)
class ImageNet:
    """ImageNet-1k in folders, by the names of its folder, CoOp's first."""

    folders: tuple[str, ...] = FOLDERS

    layout = "ImageNet folders"

    def find(self, root: Path) -> Path | None:
        """Return the folder that holds train and val, or images/train and images/val."""
        for inner in ("images/", ""):
            place = find_folder(root, self.folders, f"{inner}train", f"{inner}val")
            if place and subfolders(place / f"{inner}val"):
                return place
        return None

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return train, and val as the test split."""
        images = image_root(location)
        train, test = images / "train", images / "val"
        wnids = class_folders(train, dataset)
        if class_folders(test, dataset) != wnids:
            raise DataError(f"{train} and {test} have different class folders.")
        names = _class_of(wnids, location, dataset)
        rows = (
            *class_rows(train, "train", names, "train/"),
            *class_rows(test, "test", names, "val/"),
        )
        notes = size_notes(rows, dataset, ("train", "test"))
        draws = read_jsonl_draws(location, rows, dataset)
        return LabelTable(self.layout, rows, dataset.classes, notes, draws)


@dataclass(frozen=True)
class ImageNetVariant:
    """A test set for models that were trained on ImageNet: V2, Sketch, A or R.

    Where ImageNet lies next to it, its training images of the same classes are the training split.
    Papers train on all 1,000 classes, so for A and R, with 200 classes of their own, that is
    another task than theirs: train on ImageNet and evaluate the run here. CoOp's folder is first.
    """

    folders: tuple[str, ...]

    layout = "ImageNet variant folders"

    def find(self, root: Path) -> Path | None:
        """Return the folder that holds the class folders, or a folder with them."""
        place = find_folder(root, self.folders)
        return place if place and place != root and _variant_root(place) else None

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the test images, and ImageNet's training images where they lie next to it."""
        images = _variant_root(location) or location
        folders = class_folders(images, dataset)
        names = _class_of(folders, location, dataset)
        rows = list(class_rows(images, "test", names))
        notes = [*size_notes(rows, dataset, ("test",))]
        beside = ImageNet().find(location.parent)
        if beside is not None:
            rows += _training_rows(image_root(beside) / "train", folders, names, dataset)
            notes.append(
                "training images: ImageNet's"
                if len(names) == 1000
                else f"training images: ImageNet's of these {len(names)} classes; papers train on "
                "all 1,000"
            )
        return LabelTable(self.layout, tuple(rows), dataset.classes, tuple(notes))


def image_root(location: Path) -> Path:
    """Return the folder that holds train and val."""
    inner = location / "images"
    return inner if (inner / "train").is_dir() else location


def _class_of(folders: Sequence[str], location: Path, dataset: Dataset) -> dict[str, str]:
    """Return the class of each class folder: classes are in the order of their WordNet names.

    A folder 0, 1, ... is a line of classnames.txt. Folders that the file does not list are refused.
    """
    listed = _listed(location)
    if not all(map(is_number, folders)):
        strange = next((wnid for wnid in folders if listed and wnid not in listed), None)
        if strange is not None:
            raise DataError(
                f"{location / NAMES} does not list the class folder '{strange}'.",
                hint="Class folders have WordNet names such as n01440764.",
            )
        return dict(zip(folders, dataset.classes, strict=True))
    if [int(folder) for folder in folders] != list(range(len(folders))):
        raise DataError(f"The class folders in {location} are not 0 to {len(folders) - 1}.")
    if listed and len(set(listed)) != len(folders):
        raise DataError(
            f"{location / NAMES} lists {counted(len(set(listed)), 'class')}, but there "
            f"are {len(folders)} folders."
        )
    lines = listed or folders
    named = dict(zip(sorted(set(listed)) or folders, dataset.classes, strict=True))
    return {folder: named[lines[int(folder)]] for folder in folders}


def _listed(location: Path) -> list[str]:
    """Return the WordNet names in classnames.txt, line by line; none without the file."""
    file = location / NAMES
    if not file.is_file():
        return []
    return [line.split()[0] for line in read_lines(file) if line.strip()]


def _variant_root(location: Path) -> Path | None:
    """Return the folder with the class folders: the location, or the one folder in it."""
    for folder in (location, *subfolders(location)):
        inner = subfolders(folder)
        if len(inner) > 1 and all(_is_class_folder(path.name) for path in inner):
            return folder
    return None


def _is_class_folder(name: str) -> bool:
    return is_number(name) or (len(name) == 9 and name[0] == "n" and is_number(name[1:]))


def _training_rows(
    train: Path, folders: Sequence[str], names: Mapping[str, str], dataset: Dataset
) -> Iterator[LabelledRow]:
    """Yield ImageNet's training images of the variant's classes."""
    if all(map(is_number, folders)):
        wnids = [path.name for path in subfolders(train)]
        if len(wnids) != len(dataset.classes):
            raise DataError(f"{train} has {len(wnids)} class folders, not {len(dataset.classes)}.")
        names = dict(zip(wnids, dataset.classes, strict=True))
    missing = next((wnid for wnid in names if not (train / wnid).is_dir()), None)
    if missing is not None:
        raise DataError(f"{train} has no folder '{missing}'.")
    return class_rows(train, "train", names, "train/")
