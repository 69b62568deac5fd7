"""The authors' own files: the images that they list, in VTAB's splits or in a split of our own.

Dataset files say which of `IMAGES` finds and labels the images, and where they lie. Splits are
VTAB's by `fewtune.datasets.vtab_slices`, except Caltech101's, which TFDS drew from a listing of
files in the order of somebody's disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from fewtune.data.file_names import SPLITS
from fewtune.data.label_table import LabelledRow, LabelTable
from fewtune.data.scan import subfolders
from fewtune.datasets import vtab_labels
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers import (
    original_lists,
    raw_arrays,
    raw_structured,
)
from fewtune.datasets.readers.reader_tools import (
    Images,
    as_split,
    class_rows,
    divide,
    find_folder,
    make_table,
    named,
    size_notes,
)
from fewtune.datasets.vtab_slices import PLAIN, Slices, choose, own_draw, slice_notes

IMAGES: Mapping[str, Images] = {
    "caltech101": partial(original_lists.keyed, original_lists.caltech101),
    "cars": partial(original_lists.keyed, original_lists.cars),
    "cifar-binary": partial(raw_arrays.pixel_arrays, raw_arrays.cifar_binary),
    "cifar-pickle": partial(raw_arrays.pixel_arrays, raw_arrays.cifar_pickle),
    "clevr-count": partial(raw_structured.clevr, vtab_labels.clevr_count_of),
    "clevr-distance": partial(raw_structured.clevr, vtab_labels.clevr_distance),
    "dmlab": raw_arrays.dmlab,
    "dsprites-location": partial(raw_structured.dsprites, "location"),
    "dsprites-orientation": partial(raw_structured.dsprites, "orientation"),
    "dtd": partial(original_lists.keyed, original_lists.dtd),
    "eurosat": partial(original_lists.keyed, original_lists.eurosat),
    "flowers102": partial(original_lists.keyed, original_lists.flowers102),
    "food101": partial(original_lists.keyed, original_lists.food101),
    "kitti": raw_structured.kitti,
    "patch-camelyon": raw_arrays.patch_camelyon,
    "pets": partial(original_lists.keyed, original_lists.pets),
    "resisc45": partial(original_lists.keyed, original_lists.resisc45),
    "retinopathy": original_lists.retinopathy,
    "smallnorb-azimuth": partial(raw_structured.smallnorb, "azimuth"),
    "smallnorb-elevation": partial(raw_structured.smallnorb, "elevation"),
    "sun397": partial(original_lists.keyed, original_lists.sun397),
    "sun397-tfds": original_lists.sun397_tfds,
    "svhn": partial(raw_arrays.pixel_arrays, raw_arrays.svhn),
}
# Of all images, and of training images alone.
ALL = (("train", 0.5), ("val", 0.2), ("test", 0.3))
TRAINING = (("train", 0.8), ("val", 0.2))
OWN_NOTE = "own split {}: not comparable with CoOp's, whose split file is not there"


@dataclass(frozen=True)
class OriginalFiles:
    """The authors' files of a task of VTAB, whose images can be put into the order of TFDS.

    Attributes:
        needed: What it holds, as patterns.
        slices: VTAB's splits in TFDS's, which are the authors', or "train" alone.
        own_split: What to say where the files do not tell TFDS's splits.
    """

    folders: tuple[str, ...]
    needed: tuple[str, ...]
    images: Annotated[Images, named(IMAGES)]
    layout: str
    slices: Slices = PLAIN
    notes: tuple[str, ...] = ()
    own_split: str = ""

    def find(self, root: Path) -> Path | None:
        """Return the folder."""
        return find_folder(root, self.folders, *self.needed)

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the rows in VTAB's splits."""
        keys, row = self.images(location, dataset)
        if not {part.stored for part in self.slices.parts("full")} <= keys.keys():
            every = [row(stored, key) for stored, of_split in keys.items() for key in of_split]
            total = sum(dataset.sizes.values())
            rows = divide(every, [(split, n / total) for split, n in dataset.sizes.items()])
            return make_table(self.layout, rows, dataset, subset, (self.own_split,))
        chosen = choose(keys, self.slices, subset)
        taken = tuple(as_split(row(stored, key), split) for split, stored, key in chosen)
        counts = {stored: len(of_split) for stored, of_split in keys.items()}
        told = slice_notes(counts, self.slices, dataset, subset)
        return LabelTable(self.layout, taken, dataset.classes, (*told, *self.notes))


@dataclass(frozen=True)
class Sun397(OriginalFiles):
    """SUN397, which TFDS divides by lists that are not the authors'."""

    def find(self, root: Path) -> Path | None:
        """Return the folder with a folder for each letter, if the lists can be found."""
        found = super().find(root)
        return found if found and original_lists.sun397_lists(found) else None


@dataclass(frozen=True)
class AuthorsArchive(OriginalFiles):
    """The archive of one of CoOp's datasets, where torchvision or a user unpacked it.

    CoOp drew its splits once at random and published them as files. Where the file is missing,
    FewTune draws a split of the same proportions by a hash of the paths, and says so: scores on it
    do not compare with published ones.
    """

    layout: str = "authors' archive"

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return all images in a split of our own.

        The authors' test split is kept where CoOp keeps it, and their training images are divided
        in 80 and 20 %; elsewhere all images are divided in 50, 20 and 30 %.
        """
        keys, row = self.images(location, dataset)
        rows = [row(stored, key) for stored, of_split in keys.items() for key in of_split]
        if {row.split for row in rows} == {"train", "test"}:
            test = [row for row in rows if row.split == "test"]
            rows = [*divide([row for row in rows if row.split == "train"], TRAINING), *test]
            note = OWN_NOTE.format("of the training images in 80 and 20 %")
        else:
            rows = divide(rows, ALL)
            note = OWN_NOTE.format("in 50, 20 and 30 %")
        notes = (note, *size_notes(rows, dataset, SPLITS))
        return LabelTable(self.layout, tuple(rows), dataset.classes, notes)


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
