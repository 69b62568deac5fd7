"""VTAB's structured tasks from the original files of CLEVR, KITTI, dSprites and smallNORB.

Labels are derived as VTAB does (`fewtune.datasets.vtab_labels`), splits by
`fewtune.datasets.vtab_slices`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow, LabelTable
from fewtune.data.packed_images import BitSlice, FileSlice, GreySlice
from fewtune.data.scan import listed_file, named_files
from fewtune.data.text_files import numbered_lines, read_lines, read_text
from fewtune.datasets import vtab_labels
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers.checks import (
    Keys,
    OriginalFiles,
    RowOf,
    class_name,
    divide,
    make_table,
)
from fewtune.datasets.readers.locations import find_folder
from fewtune.datasets.unpack import gunzipped, packed_bits
from fewtune.datasets.vtab_slices import Slices


@dataclass(frozen=True)
class Clevr(OriginalFiles):
    """CLEVR_v1.0/{images,scenes}: a scene is a JSON object that lists what stands in it.

    Labels are the number of objects, or the distance of the closest.
    """

    task: Literal["count", "distance"]

    layout = "CLEVR_v1.0"
    folders = ("CLEVR_v1.0", "clevr/CLEVR_v1.0", "clevr", "CLEVR")
    needed = ("scenes/CLEVR_train_scenes.json", "images/train")
    slices = Slices("train[:90%]", "train[90%:]", "validation")

    def images(self, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
        """Return keys and rows; VTAB's test is CLEVR's "val", since its "test" has no scenes."""
        folders = {"train": "train", "validation": "val"}
        scenes = {stored: _scenes(location, folder) for stored, folder in folders.items()}

        def row(split: str, stored: str, key: str) -> LabelledRow:
            where = f"CLEVR_{folders[stored]}_scenes.json, scene '{key}'"
            file = listed_file(location, f"images/{folders[stored]}/{key}", where)
            depths = scenes[stored][key]
            label = (
                vtab_labels.clevr_distance(depths)
                if self.task == "distance"
                else vtab_labels.clevr_count(len(depths))
            )
            named = class_name(dataset, label, where)
            return LabelledRow(split, file.relative, named, file.path, file.size_bytes, where)

        return {stored: list(of_split) for stored, of_split in scenes.items()}, row


@dataclass(frozen=True)
class Kitti(OriginalFiles):
    """KITTI's object detection set: training/image_2 and training/label_2.

    TFDS divides it by video, which the devkit's mapping/train_rand.txt and train_mapping.txt tell.
    """

    layout = "KITTI object detection"
    folders = ("kitti", "KITTI", "Kitti/raw", "kitti/raw", "Kitti", "data_object")
    needed = ("training/image_2", "training/label_2")

    def images(self, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
        """Return keys, split by video where the mapping is there, and rows."""
        images = location / "training/image_2"
        names = [path.name for _, path in named_files(images, r"\d{6}\.png")]

        def row(split: str, _: str, key: str) -> LabelledRow:
            file = listed_file(location, f"training/image_2/{key}", "training/image_2")
            where = f"training/label_2/{key[:6]}.txt"
            label = vtab_labels.kitti_distance(_kitti_objects(location / where))
            named = class_name(dataset, label, where)
            return LabelledRow(split, file.relative, named, file.path, file.size_bytes, where)

        videos = _kitti_videos(location)
        if videos is None:
            return {"train": names}, row
        return {
            stored: [name for name in names if int(name[:6]) in numbers]
            for stored, numbers in _kitti_splits(videos).items()
        }, row

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the rows in VTAB's splits, or in an own split where the mapping is not there."""
        if _kitti_videos(location) is not None:
            return super().read(location, dataset, subset)
        keys, row = self.images(location, dataset)
        shares = [(s, dataset.sizes[s] / sum(dataset.sizes.values())) for s in dataset.sizes]
        rows = divide([row("train", "", name) for name in keys["train"]], shares)
        note = (
            "own split by image, so that frames of one drive are in train and test: VTAB splits by "
            "drive, for which the devkit's mapping folder is needed"
        )
        return make_table(self.layout, rows, dataset, subset, (note,))


@dataclass(frozen=True)
class DSprites(OriginalFiles):
    """The authors' npz of dSprites, labelled by one factor."""

    factor: Literal["location", "orientation"]

    layout = "dSprites npz"
    folders = ("dsprites", "dSprites", "dsprites-dataset")
    needed = ("dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",)
    slices = Slices("train[:80%]", "train[80%:90%]", "train[90%:]")

    def find(self, root: Path) -> Path | None:
        """Return the npz."""
        folder = super().find(root)
        return folder / self.needed[0] if folder else None

    def images(self, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
        """Return keys and rows; images are unpacked into the cache folder once (360 MiB)."""
        factors = _latents(location)
        bits, (count, height, width) = packed_bits(location, "imgs")
        if len(factors) != count:
            raise DataError(f"{location} holds {count} images and labels of {len(factors)}.")
        size = height * width // 8
        factor, rule = vtab_labels.DSPRITES[self.factor]

        def row(split: str, _: str, key: str) -> LabelledRow:
            index = int(key)
            label = rule(int(factors[index, 1 + factor]))  # colour comes first
            named = class_name(dataset, label, f"{location.name} image {index}")
            place = FileSlice(bits, index * size, size)
            return LabelledRow(split, f"{index:06d}", named, BitSlice(place, height, width), size)

        return {"train": list(map(str, range(count)))}, row


# How the names of smallNORB's files begin.
NORB = {
    "train": "smallnorb-5x46789x9x18x6x2x96x96-training",
    "test": "smallnorb-5x01235x9x18x6x2x96x96-testing",
}


@dataclass(frozen=True)
class SmallNorb(OriginalFiles):
    """The authors' matrices of smallNORB, compressed or not, labelled by one factor."""

    factor: Literal["azimuth", "elevation"]

    layout = "smallNORB matrices"
    folders = ("smallnorb", "smallNORB", "SmallNORB", "norb")
    needed = tuple(f"{stem}-info.mat" for stem in NORB.values())
    slices = Slices("train", "test[:50%]", "test[50%:]")

    def find(self, root: Path) -> Path | None:
        """Return the folder with the matrices."""
        packed = (f"{name}.gz" for name in self.needed)
        return super().find(root) or find_folder(root, self.folders, *packed)

    def images(self, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
        """Return keys and rows: of each pair the image of the first camera."""
        import numpy as np

        info: dict[str, Any] = {}
        images: dict[str, tuple[Path, int, Sequence[int]]] = {}
        for split, stem in NORB.items():
            path = gunzipped(location / f"{stem}-info.mat")
            offset, (count, columns) = _matrix(path, "<i4", 2)
            info[split] = np.fromfile(path, "<i4", offset=offset).reshape(count, columns)
            path = gunzipped(location / f"{stem}-dat.mat")
            offset, shape = _matrix(path, "u1", 4)
            if shape[0] != count or columns != 4:
                raise DataError(f"{path} holds {shape[0]} images, its labels are of {count}.")
            images[split] = path, offset, shape
        column, rule = vtab_labels.SMALLNORB[self.factor]

        def row(split: str, stored: str, key: str) -> LabelledRow:
            index = int(key)
            path, start, (_, cameras, height, width) = images[stored]
            size = height * width
            place = FileSlice(path, start + index * cameras * size, size)
            where = f"{NORB[stored]} image {index}"
            named = class_name(dataset, rule(int(info[stored][index, column])), where)
            source = GreySlice(place, height, width)
            return LabelledRow(split, f"{stored}/{index:05d}", named, source, size, where)

        return {stored: list(map(str, range(len(of)))) for stored, of in info.items()}, row


def _scenes(location: Path, folder: str) -> dict[str, list[float]]:
    """Return the distances of a scene's objects by the name of its image."""
    path = location / "scenes" / f"CLEVR_{folder}_scenes.json"
    kept = ("scenes", "image_filename", "objects", "pixel_coords")

    def needed(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Drop at once what is not needed: the whole file takes gigabytes of memory."""
        return {name: value for name, value in pairs if name in kept}

    try:
        scenes = json.loads(read_text(path), object_pairs_hook=needed)["scenes"]
        return {
            str(scene["image_filename"]): [float(o["pixel_coords"][2]) for o in scene["objects"]]
            for scene in scenes
        }
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise DataError(
            f"{path} is not CLEVR's list of scenes: {error!r}.", hint="Unpack CLEVR_v1.0.zip again."
        ) from error


def _kitti_objects(path: Path) -> list[tuple[str, float]]:
    """Return type and z of each object: columns 1 and 14 of 15."""
    found = []
    for where, line in numbered_lines(path):
        cells = line.split()
        try:
            found.append((cells[0], float(cells[13])))
        except (ValueError, IndexError) as error:
            raise DataError(
                f"{path.parent / where} is {line[:60]!r}, expected the 15 columns of KITTI's "
                "labels."
            ) from error
    return found


def _kitti_videos(location: Path) -> list[str] | None:
    """Return the drive of each image, or None without the devkit's mapping."""
    for folder in ("mapping", "devkit/mapping", "devkit_object/mapping", "devkit_object/devkit"):
        order, lines = location / folder / "train_rand.txt", location / folder / "train_mapping.txt"
        if not (order.is_file() and lines.is_file()):
            continue
        mapping = read_lines(lines)
        try:
            places = [int(number) - 1 for number in read_text(order).split(",")]
            return [mapping[place].split(" ")[1] for place in places]
        except (ValueError, IndexError) as error:
            raise DataError(f"{order} does not fit {lines.name}: {error}.") from error
    return None


def _kitti_splits(videos: Sequence[str]) -> Mapping[str, set[int]]:
    """Return the images of TFDS's splits: of 100 drives, 10 are drawn for test, 10 for validation.

    The draws are those of numpy's legacy generator with seed 123.
    """
    import numpy as np

    names = sorted(set(videos))
    share = max(1, 10 * len(names) // 100)
    generator = np.random.RandomState(123)
    test = set(generator.choice(names, share, replace=False).tolist())
    left = [name for name in names if name not in test]
    if share > len(left):
        raise DataError(
            f"The devkit's mapping names {len(names)} drives, too few for three splits."
        )
    validation = set(generator.choice(left, share, replace=False).tolist())
    splits: dict[str, set[int]] = {"train": set(), "validation": set(), "test": set()}
    for image, video in enumerate(videos):
        split = "test" if video in test else "validation" if video in validation else "train"
        splits[split].add(image)
    return splits


def _latents(path: Path) -> Any:
    """Return the factors of each image: colour, shape, scale, orientation, x, y."""
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            factors = arrays["latents_classes"]
    except Exception as error:  # numpy and zipfile raise whatever a damaged archive leads to
        raise DataError(f"Cannot read {path}: {error}.", hint="Fetch the file again.") from error
    if factors.ndim != 2 or factors.shape[1] != 6 or factors.dtype.kind not in "iu":
        raise DataError(f"{path} holds factors of shape {factors.shape}, expected (images, 6).")
    return factors


def _matrix(path: Path, kind: str, axes: int) -> tuple[int, tuple[int, ...]]:
    """Return where the values of a matrix begin, and its shape.

    The header is a number for the type, the number of axes, and at least three lengths.

    Raises:
        DataError: The file is damaged or holds something else.
    """
    magic, itemsize = {"u1": (0x1E3D4C55, 1), "<i4": (0x1E3D4C54, 4)}[kind]
    with path.open("rb") as file:
        header = file.read(8 + 4 * max(3, axes))
    offset = len(header)
    try:
        found, found_axes, *lengths = struct.unpack(f"<{2 + max(3, axes)}i", header)
    except struct.error as error:
        raise DataError(f"{path} is cut off.", hint="Fetch the file again.") from error
    shape = tuple(lengths[:axes])
    size = path.stat().st_size
    if (found, found_axes) != (magic, axes) or offset + itemsize * math.prod(shape) != size:
        raise DataError(
            f"{path} is not smallNORB's matrix with {axes} axes.", hint="Fetch the file again."
        )
    return offset, shape
