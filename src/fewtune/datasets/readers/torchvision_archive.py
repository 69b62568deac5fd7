"""Authors' archives of CoOp's datasets, where torchvision or a user unpacked them.

CoOp drew its splits once at random and published them as files. Where the file is missing, FewTune
draws a split of the same proportions by a hash of the paths, and says so: scores on it do not
compare with published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.data.file_names import SPLITS
from fewtune.data.label_table import LabelledRow, LabelTable
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers import original_lists
from fewtune.datasets.readers.checks import divide, size_notes
from fewtune.datasets.readers.locations import find_folder

OWN_NOTE = "own split {}: not comparable with CoOp's, whose split file is not there"
ALL = (("train", 0.5), ("val", 0.2), ("test", 0.3))
TRAINING = (("train", 0.8), ("val", 0.2))


@dataclass(frozen=True)
class Archive:
    """One dataset's archive.

    Attributes:
        folders: Names of its folder, torchvision's first.
        needed: What the folder holds; any one of these sets.
        read: Returns all rows.
    """

    folders: tuple[str, ...]
    needed: tuple[tuple[str, ...], ...]
    read: Callable[[Path, Dataset], Sequence[LabelledRow]]


ARCHIVES: Mapping[str, Archive] = {
    "Caltech101": Archive(
        ("caltech101", "caltech-101", "Caltech101"),
        (("101_ObjectCategories",),),
        original_lists.caltech101,
    ),
    "DTD": Archive(
        ("dtd/dtd", "dtd", "DTD"), (("labels/train1.txt", "images"),), original_lists.dtd
    ),
    "EuroSAT": Archive(("eurosat", "EuroSAT"), (("2750",),), original_lists.eurosat),
    "Flowers102": Archive(
        ("flowers-102", "oxford_flowers", "Flower102"),
        (("jpg", "imagelabels.mat"),),
        original_lists.flowers102,
    ),
    "Food101": Archive(
        ("food-101", "Food101"), (("images", "meta/train.json"),), original_lists.food101
    ),
    "OxfordIIITPet": Archive(
        ("oxford-iiit-pet", "oxford_pets", "OxfordPets"),
        (("images", "annotations/trainval.txt"),),
        original_lists.pets,
    ),
    "StanfordCars": Archive(
        ("stanford_cars", "StanfordCars"),
        (("cars_train", "cars_test", "devkit/cars_meta.mat"),),
        original_lists.cars,
    ),
    "SUN397": Archive(
        ("sun397", "SUN397"), (("SUN397/a/abbey",), ("a/abbey",)), original_lists.sun397
    ),
}


@dataclass(frozen=True)
class TorchvisionArchive:
    """An archive that torchvision knows, by the name of its class there ("OxfordIIITPet")."""

    archive: str

    layout = "authors' archive"

    def __post_init__(self) -> None:
        if self.archive not in ARCHIVES:
            raise ConfigError(
                f"There is no archive {self.archive!r}.", hint=did_you_mean(self.archive, ARCHIVES)
            )

    def find(self, root: Path) -> Path | None:
        """Return the folder of the unpacked archive."""
        archive = ARCHIVES[self.archive]
        places = (find_folder(root, archive.folders, *needed) for needed in archive.needed)
        return next(filter(None, places), None)

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return all images in a split of our own.

        The authors' test split is kept where CoOp keeps it, and their training images are divided
        in 80 and 20 %; elsewhere all images are divided in 50, 20 and 30 %.
        """
        rows = ARCHIVES[self.archive].read(location, dataset)
        if {row.split for row in rows} == {"train", "test"}:
            test = [row for row in rows if row.split == "test"]
            training = [row for row in rows if row.split == "train"]
            rows = [*divide(training, TRAINING), *test]
            note = OWN_NOTE.format("of the training images in 80 and 20 %")
        else:
            rows = divide(rows, ALL)
            note = OWN_NOTE.format("in 50, 20 and 30 %")
        notes = (note, *size_notes(rows, dataset, SPLITS))
        return LabelTable(self.layout, tuple(rows), dataset.classes, notes)
