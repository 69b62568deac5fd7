"""Arrays in MATLAB files, .npz and .gz, and the packages that only files of benchmarks need.

Compressed arrays are unpacked into the cache once, so that images are read by place.
"""

import gzip
import importlib
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from fewtune.core.errors import DataError
from fewtune.core.files import digest, write_atomic
from fewtune.core.paths import cache_dir

CHUNK_BYTES = 1 << 24
# What compressed files raise when they are cut off, changed, encrypted or packed in another way.
_DAMAGE = (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, RuntimeError, ValueError)


def read_mat(path: Path, name: str, *, squeeze: bool = False) -> Any:
    """Return a variable of a MATLAB file of version 4 to 7 as an array of its shape there.

    Args:
        squeeze: Without axes of length 1, and texts and structures as values.

    Raises:
        DataError: The file is missing or damaged, has no such variable, or SciPy is not installed.
    """
    loader = optional("scipy.io", f"read {path.name}")
    try:
        return loader.loadmat(path, variable_names=[name], squeeze_me=squeeze)[name]
    except Exception as error:  # SciPy raises whatever a damaged file leads to
        why = "there is no such array" if isinstance(error, KeyError) else error
        raise DataError(
            f"Cannot read '{name}' in {path}: {why}.", hint="Fetch the file again."
        ) from error


def read_integers(path: Path, name: str) -> Any:
    """Return an array of whole numbers of a MATLAB file, at least (1, 1), in its shape there.

    Raises:
        DataError: As of `read_mat`; or the array holds anything but whole numbers.
    """
    array = read_mat(path, name)
    if array.dtype.kind not in "iuf":
        raise DataError(f"Cannot read '{name}' in {path}: it holds no numbers.")
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # of infinities, which are not whole
            whole = array.astype(np.int64)
        if not (whole == array).all():
            raise DataError(f"Cannot read '{name}' in {path}: its numbers are not whole.")
        return whole
    return array


def optional(module: str, purpose: str, package: str = "") -> Any:
    """Return a module of a package that FewTune needs for files of benchmarks alone.

    Args:
        package: Its name, if it is not that of the module.

    Raises:
        DataError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = package or module.partition(".")[0]
        raise DataError(
            f"The package '{package}' is needed to {purpose}, but it is not installed.",
            hint='Type: pip install "fewtune[originals]"',
        ) from error


def cached(source: Path, suffix: str, fill: Callable[[IO[bytes]], object]) -> Path:
    """Return the file that `fill` makes of `source`, made when `source` is new or was changed.

    Raises:
        DataError: `source` is missing or damaged.
        RunError: The cache folder cannot be written.
    """
    try:
        stat = source.stat()
    except OSError as error:
        raise DataError(f"Cannot read {source}: {error.strerror or error}.") from error
    name = digest([str(source.absolute()), stat.st_size, stat.st_mtime_ns, suffix])
    target = cache_dir() / "unpacked" / f"{name[:24]}{suffix}"

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            try:
                fill(file)
            except _DAMAGE as error:
                raise DataError(
                    f"Cannot read {source}: {error}.", hint="Fetch the file again."
                ) from error

    if not target.is_file():
        write_atomic(target, write)
    return target


def gunzipped(path: Path) -> Path:
    """Return a file without compression: `path` itself, or what lies in `path`.gz.

    Raises:
        DataError: Neither is there, or it is damaged.
    """
    if path.is_file():
        return path
    packed = path.with_name(f"{path.name}.gz")

    def fill(file: IO[bytes]) -> None:
        with gzip.open(packed) as unpacked:
            shutil.copyfileobj(unpacked, file, CHUNK_BYTES)

    if not packed.is_file():
        raise DataError(f"{path.parent} has neither {path.name} nor {packed.name}.")
    return cached(packed, path.suffix, fill)


def packed_bits(path: Path, member: str, side: int) -> Path:
    """Return the array of zeros and ones in an npz as a file with eight of them per byte.

    Args:
        member: Name of the array, uint8 of shape (images, side, side). It is in memory once, which
            takes 3 GB for dSprites.

    Raises:
        DataError: The array is missing, damaged or of another kind.
    """

    def fill(file: IO[bytes]) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            if member not in arrays:
                raise DataError(f"{path} has no array '{member}'.")
            images = arrays[member]
        if images.dtype != np.uint8 or images.shape[1:] != (side, side):
            kind = f"{images.dtype} of shape {images.shape}"
            raise DataError(f"{path} holds '{member}' as {kind}, expected images.")
        file.write(np.packbits(images).tobytes())

    return cached(path, ".bits", fill)
