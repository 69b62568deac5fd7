"""VTAB's tasks whose original files hold many images each.

CIFAR-100 (binary or Python version), SVHN (.mat), PatchCamelyon (.h5, by h5py) and DMLab
(record files).
"""

import hashlib
import pickle
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewtune.core.errors import DataError
from fewtune.data.decode import InMemory
from fewtune.data.label_table import LabelledRow
from fewtune.data.packed_images import FileSlice
from fewtune.data.scan import named_files
from fewtune.datasets.array_files import optional, read_integers
from fewtune.datasets.declaration import Dataset
from fewtune.datasets.readers.reader_tools import Keys, RowOf, class_name
from fewtune.datasets.readers.tfds import Stored, stored_bytes
from fewtune.datasets.tfrecord import locate_bytes, locate_records, map_file, read_record

PIXELS = 3 * 32 * 32
# Of the files in cifar-100-python.tar.gz.
CIFAR100_MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}

# Returns N labels and pixels (N, 32, 32, 3), uint8 in 0..255, of "train" or "test" in a folder.
Load = Callable[[Path, str], tuple[list[int], Any]]


def pixel_arrays(load: Load, location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
    """Return the images of two arrays, which are held in memory (up to 300 MiB)."""
    arrays = {stored: load(location, stored) for stored in ("train", "test")}

    def row(stored: str, key: str) -> LabelledRow:
        labels, pixels = arrays[stored]
        where = f"{location.name}, {stored} image {key}"
        image = pixels[int(key)]
        name = class_name(dataset, labels[int(key)], where)
        return LabelledRow("", f"{stored}/{key:0>5}", name, InMemory(image), image.nbytes, where)

    return {stored: list(map(str, range(len(of)))) for stored, (of, _) in arrays.items()}, row


def cifar_binary(location: Path, split: str) -> tuple[list[int], Any]:
    """Return fine labels, and pixels (N, 32, 32, 3) of uint8, from NAME.bin.

    An image is its coarse label, its fine label, and three planes of 32 x 32 bytes.

    Raises:
        DataError: The file is missing or cut off.
    """
    path = location / f"{split}.bin"
    data = np.frombuffer(map_file(path), np.uint8)
    if data.size == 0 or data.size % (2 + PIXELS):
        raise DataError(f"{path} does not consist of whole images.", hint="Fetch it again.")
    records = data.reshape(-1, 2 + PIXELS)
    return records[:, 1].tolist(), _upright(records[:, 2:])


def cifar_pickle(location: Path, split: str) -> tuple[list[int], Any]:
    """Return fine labels, and pixels (N, 32, 32, 3) of uint8, from the Python version.

    A pickle can run code, so other bytes than the authors' are refused.

    Raises:
        DataError: It is not the file that the authors publish.
    """
    path = location / split
    data = map_file(path)
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != CIFAR100_MD5[split]:
        raise DataError(
            f"{path} is not the file that the authors of CIFAR-100 publish (MD5 {found}); a "
            "pickle of others is not opened.",
            hint="Fetch cifar-100-python.tar.gz again, or use cifar-100-binary.tar.gz.",
        )
    values = pickle.loads(data, encoding="latin1")
    return list(values["fine_labels"]), _upright(values["data"])


def svhn(location: Path, split: str) -> tuple[list[int], Any]:
    """Return digits, and pixels (N, 32, 32, 3) of uint8, from NAME_32x32.mat.

    The digit 0 is stored as 10.

    Raises:
        DataError: The file is missing or damaged, has other shapes, or SciPy is not installed.
    """
    path = location / f"{split}_32x32.mat"
    pixels, digits = read_integers(path, "X"), read_integers(path, "y").ravel()
    if pixels.dtype != np.uint8 or pixels.shape != (32, 32, 3, digits.size):
        raise DataError(
            f"{path} holds pixels of shape {pixels.shape}, expected (32, 32, 3, {digits.size}).",
            hint="Fetch it again.",
        )
    return [int(digit) % 10 for digit in digits], np.moveaxis(pixels, 3, 0)


@dataclass(frozen=True, slots=True)
class H5Image:
    """An image of an HDF5 file's array "x"."""

    path: Path
    index: int

    def __str__(self) -> str:
        return f"{self.index} of {self.path}"

    def read(self) -> Any:
        """Return an array (height, width, 3) of uint8."""
        with optional("h5py", "read .h5 files").File(self.path, "r") as file:
            return file["x"][self.index]


PCAM = {"train": "train", "validation": "valid", "test": "test"}
PCAM_NAME = "camelyonpatch_level_2_split_{}_{}.h5"


def patch_camelyon(location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
    """Return the images of camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5."""
    h5py = optional("h5py", "read .h5 files")
    labels: dict[str, list[int]] = {}
    for stored, short in PCAM.items():
        path = location / PCAM_NAME.format(short, "y")
        try:
            with h5py.File(path, "r") as file:
                labels[stored] = file["y"][()].ravel().tolist()
            path = location / PCAM_NAME.format(short, "x")
            with h5py.File(path, "r") as file:
                shape = file["x"].shape
        except Exception as error:  # h5py raises whatever a damaged file leads to
            raise DataError(
                f"Cannot read {path}: {error}.", hint="Fetch the file again (gunzip it)."
            ) from error
        if len(shape) != 4 or shape[0] != len(labels[stored]):
            raise DataError(f"{path} has shape {shape} for {len(labels[stored])} labels.")

    def row(stored: str, key: str) -> LabelledRow:
        short, _, number = key.partition("_")
        source = H5Image(location / PCAM_NAME.format(short, "x"), int(number))
        where = f"{PCAM_NAME.format(short, 'y')} image {number}"
        name = class_name(dataset, labels[stored][int(number)], where)
        return LabelledRow("", f"{short}/{number:0>6}", name, source, 0, where)

    keys = {
        stored: [f"{short}_{index}" for index in range(len(labels[stored]))]
        for stored, short in PCAM.items()
    }
    return keys, row


def dmlab(location: Path, dataset: Dataset) -> tuple[Keys, RowOf]:
    """Return the images of dmlab-{train,validation,test}.tfrecord*, from dmlab.tar.gz."""
    found: dict[str, dict[str, LabelledRow]] = defaultdict(dict)
    files = r"dmlab-(train|validation|test)\.tfrecord(-\d+-of-\d+)?"
    for matched, path in named_files(location, files):
        data = map_file(path)
        for index, record in enumerate(locate_records(data, path)):
            where = f"{path.name} record {index}"
            example = read_record(data, record, path)
            place = locate_bytes(data, record, stored_bytes(example, "image", where))
            key = stored_bytes(example, "filename", where).decode("latin-1")
            name = class_name(dataset, Stored()(example), where)
            source = FileSlice(path, *place)
            found[matched[1]][key] = LabelledRow(
                "", f"{matched[1]}/{key}", name, source, place.size, where
            )
    return found, lambda stored, key: found[stored][key]


def _upright(planes: Any) -> Any:
    """Return planes (N, 3072) as images (N, 32, 32, 3)."""
    return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
