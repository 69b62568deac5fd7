"""NOAH's few-shot lists, with the images of CoOp's folders.

    ROOT/few-shot/oxford-pets/annotations/train_meta.list.num_shot_16.seed_0    "FILE LABEL"
    ROOT/few-shot/oxford-pets/annotations/val_meta.list, test_meta.list
    ROOT/few-shot/oxford-pets/images/Abyssinian_1.jpg

Lists exist for shots 1, 2, 4, 8 and 16 and seeds 0 to 2; `--draw published` takes them. A list of
all training images comes with OxfordPets alone: elsewhere the training split is what the few-shot
lists name. The 1-shot lists of OxfordPets name every image twice; one of the two is dropped.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from fewtune.core.task import PublishedDraw
from fewtune.data.label_table import LabelledRow, LabelTable
from fewtune.data.layouts.list_folder import read_list
from fewtune.data.scan import named_files
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers.reader_tools import find_folder, named_rows, size_notes

LISTS = "annotations"
WHOLE = "train_meta.list"
DOUBLED_NOTE = "the published lists of {} name every image twice; each is used once"
UNION_NOTE = "training images: those of all published few-shot lists; other images are not listed"


@dataclass(frozen=True)
class NoahLists:
    """A folder of NOAH's `data/few-shot/`, by its name ("oxford-pets")."""

    folder: str

    layout = "NOAH few-shot lists"

    def find(self, root: Path) -> Path | None:
        """Return the folder that holds annotations with few-shot lists."""
        place = find_folder(root, (self.folder,), f"{LISTS}/val_meta.list")
        return place if place and _few_shot_lists(place) else None

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the listed images and the published draws."""
        notes: list[str] = []
        lists = {
            draw: _rows(file, "train", location, dataset)
            for draw, file in _few_shot_lists(location).items()
        }
        draws = []
        doubled = set()
        for (shots, seed), rows in lists.items():
            keys = tuple(row.key for row in rows)
            if all(count == 2 for count in Counter(keys).values()):
                keys = tuple(dict.fromkeys(keys))
                doubled.add(f"{shots} shot{'s' * (shots != 1)}")
            draws.append(PublishedDraw(shots, seed, keys))
        notes += [DOUBLED_NOTE.format(which) for which in sorted(doubled)]
        whole = location / LISTS / WHOLE
        if whole.is_file():
            train = _rows(whole, "train", location, dataset)
        else:
            train = list({row.key: row for rows in lists.values() for row in rows}.values())
            notes.append(UNION_NOTE)
        listed = (*train, *_evaluation_rows(location, dataset))
        notes += size_notes(listed, dataset, ("val", "test"))
        return LabelTable(self.layout, listed, dataset.classes, tuple(notes), tuple(draws))


def _few_shot_lists(location: Path) -> dict[tuple[int, int], Path]:
    """Return the few-shot lists by (shots, seed), sorted."""
    lists = r"train_meta\.list\.num_shot_(\d{1,4})\.seed_(\d{1,9})"
    found = named_files(location / LISTS, lists)
    return dict(sorted(((int(name[1]), int(name[2])), path) for name, path in found))


def _evaluation_rows(location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return val and test; ImageNet has one list, which papers test on."""
    val, test = (location / LISTS / f"{split}_meta.list" for split in ("val", "test"))
    if test.is_file():
        rows = _rows(val, "val", location, dataset) if val.is_file() else []
        return rows + _rows(test, "test", location, dataset)
    return _rows(val, "test", location, dataset)


def _rows(file: Path, split: str, location: Path, dataset: Dataset) -> list[LabelledRow]:
    """Return the rows of a list with class names for labels."""
    folder, prefix = _image_folder(location, split)
    rows = named_rows(read_list(file, split, folder), dataset)
    return [replace(row, key=prefix + row.key) for row in rows]


def _image_folder(location: Path, split: str) -> tuple[Path, str]:
    """Return the folder of a split's images, and what it adds to their keys."""
    if (location / "images").is_dir():
        return location / "images", ""
    of_split = {"train": "train", "val": "val", "test": "val"}[split]
    if (location / of_split).is_dir():  # ImageNet
        return location / of_split, f"{of_split}/"
    return location, ""  # StanfordCars
