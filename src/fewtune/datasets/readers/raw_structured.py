"""VTAB's structured tasks from the original files of CLEVR, KITTI, dSprites and smallNORB.

Labels are derived as VTAB does (`fewtune.datasets.vtab_labels`).
"""

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow
from fewtune.data.packed_images import BitSlice, FileSlice, GreySlice
from fewtune.data.scan import named_files
from fewtune.data.text_files import numbered_lines, read_lines, read_text
from fewtune.datasets import vtab_labels
from fewtune.datasets.array_files import gunzipped, packed_bits
from fewtune.datasets.declaration import Dataset
from fewtune.datasets.readers.reader_tools import Keys, RowOf, class_name, file_row

DSPRITES_FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
SPRITE_PX = 64


def clevr(
    label: Callable[[Sequence[float]], int], location: Path, dataset: Dataset
) -> tuple[Keys, RowOf]:
    """Return the images of CLEVR_v1.0/{images,scenes}, labelled by the distances of the objects.

    A scene is a JSON object that lists what stands in it. VTAB's test is CLEVR's "val", since its
    "test" has no scenes.
    """
    folders = {"train": "train", "validation": "val"}
    scenes = {stored: _scenes(location, folder) for stored, folder in folders.items()}

    def row(stored: str, key: str) -> LabelledRow:
        where = f"CLEVR_{folders[stored]}_scenes.json, scene '{key}'"
        file = f"images/{folders[stored]}/{key}"
        return file_row(location, file, dataset, label(scenes[stored][key]), where)

    return scenes, row


def kitti(location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
    """Return KITTI's images for object detection: training/image_2 and training/label_2.

    TFDS divides it by drive, which the devkit's mapping/train_rand.txt and train_mapping.txt tell;
    all images are of "train" where these are not there.
    """
    names = [path.name for _, path in named_files(location / "training/image_2", r"\d{6}\.png")]

    def row(stored: str, key: str) -> LabelledRow:
        where = f"training/label_2/{key[:6]}.txt"
        label = vtab_labels.kitti_distance(_kitti_objects(location / where))
        return file_row(location, f"training/image_2/{key}", dataset, label, where)

    videos = _kitti_videos(location)
    if videos is None:
        return {"train": names}, row
    return {
        stored: [name for name in names if int(name[:6]) in numbers]
        for stored, numbers in _kitti_splits(videos).items()
    }, row


def dsprites(factor: str, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
    """Return the images of the authors' npz, unpacked into the cache folder once (360 MiB)."""
    path = location / DSPRITES_FILE
    factors = _latents(path)
    bits = packed_bits(path, "imgs", SPRITE_PX)
    size = SPRITE_PX**2 // 8
    count = bits.stat().st_size // size
    if len(factors) != count:
        raise DataError(f"{path} holds {count} images and labels of {len(factors)}.")
    place, rule = vtab_labels.DSPRITES[factor]

    def row(stored: str, key: str) -> LabelledRow:
        index = int(key)
        label = rule(int(factors[index, 1 + place]))  # colour comes first
        name = class_name(dataset, label, f"{path.name} image {index}")
        source = BitSlice(FileSlice(bits, index * size, size), SPRITE_PX, SPRITE_PX)
        return LabelledRow("", f"{index:06d}", name, source, size)

    return {"train": list(map(str, range(count)))}, row


# How the names of smallNORB's files begin.
NORB = {
    "train": "smallnorb-5x46789x9x18x6x2x96x96-training",
    "test": "smallnorb-5x01235x9x18x6x2x96x96-testing",
}


def smallnorb(factor: str, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
    """Return of each pair in the authors' matrices, compressed or not, the first camera's image."""
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
    column, rule = vtab_labels.SMALLNORB[factor]

    def row(stored: str, key: str) -> LabelledRow:
        index = int(key)
        path, start, (_, cameras, height, width) = images[stored]
        size = height * width
        where = f"{NORB[stored]} image {index}"
        name = class_name(dataset, rule(int(info[stored][index, column])), where)
        source = GreySlice(FileSlice(path, start + index * cameras * size, size), height, width)
        return LabelledRow("", f"{stored}/{index:05d}", name, source, size, where)

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
