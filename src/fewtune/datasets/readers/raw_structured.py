"""VTAB's structured tasks from the original files of CLEVR, KITTI, dSprites and smallNORB.

Labels are derived as VTAB does (`fewtune.datasets.vtab_labels`), splits by
`fewtune.datasets.vtab_slices`.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow, LabelTable
from fewtune.data.packed_images import BitSlice, FileSlice, GreySlice
from fewtune.data.scan import entries, listed_file
from fewtune.data.text_files import read_lines, read_text
from fewtune.datasets import vtab_labels
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers.checks import class_name, divide, make_table, sliced_table
from fewtune.datasets.readers.locations import find_folder
from fewtune.datasets.unpack import gunzipped, packed_bits
from fewtune.datasets.vtab_slices import Slices

NORB_SIZES = {
    "train": "46789x9x18x6x2x96x96-training",
    "test": "01235x9x18x6x2x96x96-testing",
}


@dataclass(frozen=True)
class Clevr:
    """CLEVR_v1.0/{images,scenes}: a scene is a JSON object that lists what stands in it.

    Attributes:
        task: What the labels say: the number of objects, or the distance of the closest.
    """

    task: Literal["count", "distance"]

    layout = "CLEVR_v1.0"
    slices = Slices("train[:90%]", "train[90%:]", "validation")

    def find(self, root: Path) -> Path | None:
        """Return the folder with scenes and images."""
        folders = ("CLEVR_v1.0", "clevr/CLEVR_v1.0", "clevr", "CLEVR")
        return find_folder(root, folders, "scenes/CLEVR_train_scenes.json", "images/train")

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the rows; VTAB's test split is CLEVR's "val", since its "test" has no scenes."""
        folders = {"train": "train", "validation": "val"}
        scenes = {stored: _scenes(location, folder) for stored, folder in folders.items()}
        rule = vtab_labels.clevr_distance if self.task == "distance" else _clevr_count

        def row(split: str, stored: str, key: str) -> LabelledRow:
            where = f"CLEVR_{folders[stored]}_scenes.json, scene '{key}'"
            file = listed_file(location, f"images/{folders[stored]}/{key}", where)
            label = rule(scenes[stored][key])
            named = class_name(dataset, label, where)
            return LabelledRow(split, file.relative, named, file.path, file.size_bytes, where)

        keys = {stored: list(of_split) for stored, of_split in scenes.items()}
        return sliced_table(self.layout, keys, row, self.slices, dataset, subset)


@dataclass(frozen=True)
class Kitti:
    """KITTI's object detection set: training/image_2 and training/label_2.

    TFDS divides it by video, which the devkit's mapping/train_rand.txt and train_mapping.txt tell.
    """

    layout = "KITTI object detection"

    def find(self, root: Path) -> Path | None:
        """Return the folder that holds `training`."""
        folders = ("kitti", "KITTI", "Kitti/raw", "kitti/raw", "Kitti", "data_object")
        return find_folder(root, folders, "training/image_2", "training/label_2")

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the rows, split by video where the mapping is there."""
        names = [
            entry.name
            for entry in entries(location / "training/image_2")
            if re.fullmatch(r"\d{6}\.png", entry.name)
        ]

        def row(split: str, _: str, key: str) -> LabelledRow:
            file = listed_file(location, f"training/image_2/{key}", "training/image_2")
            where = f"training/label_2/{key[:6]}.txt"
            label = vtab_labels.kitti_distance(_kitti_objects(location / where))
            named = class_name(dataset, label, where)
            return LabelledRow(split, file.relative, named, file.path, file.size_bytes, where)

        videos = _kitti_videos(location)
        if videos is None:
            shares = [(s, dataset.sizes[s] / sum(dataset.sizes.values())) for s in dataset.sizes]
            rows = divide([row("train", "", name) for name in names], shares)
            note = (
                "own split by image, so that frames of one drive are in train and test: VTAB "
                "splits by drive, for which the devkit's mapping folder is needed"
            )
            return make_table(self.layout, rows, dataset, subset, (note,))
        splits = _kitti_splits(videos)
        keys = {
            stored: [name for name in names if int(name[:6]) in images]
            for stored, images in splits.items()
        }
        return sliced_table(self.layout, keys, row, Slices(), dataset, subset)


@dataclass(frozen=True)
class DSprites:
    """The authors' npz of dSprites.

    Attributes:
        factor: What the labels say.
    """

    factor: Literal["location", "orientation"]

    layout = "dSprites npz"
    file_name = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    slices = Slices("train[:80%]", "train[80%:90%]", "train[90%:]")

    def find(self, root: Path) -> Path | None:
        """Return the npz."""
        folders = ("dsprites", "dSprites", "dsprites-dataset")
        folder = find_folder(root, folders, self.file_name)
        return folder / self.file_name if folder else None

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the rows; images are unpacked into the cache folder once (360 MiB)."""
        factors = _latents(location)
        bits, (count, height, width) = packed_bits(location, "imgs")
        if len(factors) != count:
            raise DataError(f"{location} holds {count} images and labels of {len(factors)}.")
        size = height * width // 8
        column = 4 if self.factor == "location" else 3
        rule = (
            vtab_labels.dsprites_location
            if self.factor == "location"
            else vtab_labels.dsprites_orientation
        )

        def row(split: str, _: str, key: str) -> LabelledRow:
            index = int(key)
            label = rule(int(factors[index, column]))
            named = class_name(dataset, label, f"{location.name} image {index}")
            place = FileSlice(bits, index * size, size)
            return LabelledRow(split, f"{index:06d}", named, BitSlice(place, height, width), size)

        keys = {"train": list(map(str, range(count)))}
        return sliced_table(self.layout, keys, row, self.slices, dataset, subset)


@dataclass(frozen=True)
class SmallNorb:
    """The authors' matrices of smallNORB, compressed or not.

    Attributes:
        factor: What the labels say.
    """

    factor: Literal["azimuth", "elevation"]

    layout = "smallNORB matrices"
    slices = Slices("train", "test[:50%]", "test[50%:]")

    def find(self, root: Path) -> Path | None:
        """Return the folder with the matrices."""
        for suffix in ("", ".gz"):
            needed = [f"{_norb_name(split)}-info.mat{suffix}" for split in ("train", "test")]
            folder = find_folder(root, ("smallnorb", "smallNORB", "SmallNORB", "norb"), *needed)
            if folder:
                return folder
        return None

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the rows: of each pair the image of the first camera."""
        import numpy as np

        info: dict[str, Any] = {}
        images: dict[str, tuple[Path, int, Sequence[int]]] = {}
        for split in ("train", "test"):
            path = gunzipped(location / f"{_norb_name(split)}-info.mat")
            offset, (count, columns) = _matrix(path, "<i4", 2)
            info[split] = np.fromfile(path, "<i4", offset=offset).reshape(count, columns)
            path = gunzipped(location / f"{_norb_name(split)}-dat.mat")
            offset, shape = _matrix(path, "u1", 4)
            if shape[0] != count or columns != 4:
                raise DataError(f"{path} holds {shape[0]} images, its labels are of {count}.")
            images[split] = path, offset, shape
        column, rule = (
            (2, vtab_labels.smallnorb_azimuth)
            if self.factor == "azimuth"
            else (1, vtab_labels.smallnorb_elevation)
        )

        def row(split: str, stored: str, key: str) -> LabelledRow:
            index = int(key)
            path, start, (_, cameras, height, width) = images[stored]
            size = height * width
            place = FileSlice(path, start + index * cameras * size, size)
            where = f"{_norb_name(stored)} image {index}"
            named = class_name(dataset, rule(int(info[stored][index, column])), where)
            source = GreySlice(place, height, width)
            return LabelledRow(split, f"{stored}/{index:05d}", named, source, size, where)

        keys = {stored: list(map(str, range(len(of)))) for stored, of in info.items()}
        return sliced_table(self.layout, keys, row, self.slices, dataset, subset)


def _clevr_count(depths: Sequence[float]) -> int:
    return vtab_labels.clevr_count(len(depths))


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
    for number, line in enumerate(read_lines(path), start=1):
        cells = line.split()
        if not cells:
            continue
        try:
            found.append((cells[0], float(cells[13])))
        except (ValueError, IndexError) as error:
            raise DataError(
                f"{path} line {number} is {line[:60]!r}, expected the 15 columns of KITTI's labels."
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


def _norb_name(split: str) -> str:
    return f"smallnorb-5x{NORB_SIZES[split]}"


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
