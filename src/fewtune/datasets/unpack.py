"""Compressed arrays (.gz, .npz), unpacked into the cache once, so that images are read by place."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from fewtune.core.errors import DataError
from fewtune.core.files import digest, write_atomic
from fewtune.core.paths import cache_dir

CHUNK_BYTES = 1 << 24
# What compressed files raise when they are cut off, changed, encrypted or packed in another way.
_DAMAGE = (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, RuntimeError)


def cached(source: Path, suffix: str, fill: Callable[[IO[bytes]], None]) -> Path:
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
                raise _damaged(source, error) from error

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


def packed_bits(path: Path, member: str) -> tuple[Path, tuple[int, ...]]:
    """Return the array of zeros and ones in an npz as a file with eight of them per byte.

    Args:
        member: Name of the array, uint8 of shape (images, height, width).

    Returns:
        The file, and the shape (images, height, width).

    Raises:
        DataError: The array is missing, damaged or of another kind.
    """
    import numpy as np

    try:
        with _open(path, member) as array:
            shape = _shape(array, path, member)
    except (OSError, ValueError, *_DAMAGE) as error:
        raise _damaged(path, error) from error
    image_bytes = shape[-1] * shape[-2]

    def fill(file: IO[bytes]) -> None:
        with _open(path, member) as array:
            _shape(array, path, member)
            step = max(1, CHUNK_BYTES // image_bytes) * image_bytes
            left = image_bytes * shape[0]
            while left:
                chunk = array.read(min(step, left))
                if len(chunk) != min(step, left):
                    raise EOFError(f"'{member}' is cut off")
                left -= len(chunk)
                file.write(np.packbits(np.frombuffer(chunk, np.uint8)).tobytes())

    return cached(path, ".bits", fill), shape


@contextlib.contextmanager
def _open(path: Path, member: str) -> Iterator[IO[bytes]]:
    """Open an array of an npz."""
    with zipfile.ZipFile(path) as archive:
        if f"{member}.npy" not in archive.namelist():
            raise DataError(f"{path} has no array '{member}'.")
        with archive.open(f"{member}.npy") as array:
            yield array


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"Cannot read {path}: {error}.", hint="Fetch the file again.")


def _shape(array: IO[bytes], path: Path, member: str) -> tuple[int, ...]:
    """Read the header of an npy file."""
    from numpy.lib import format as npy

    version = npy.read_magic(array)
    read: Any = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_column, kind = read(array)
    if str(kind) != "uint8" or by_column or len(shape) != 3 or shape[1] * shape[2] % 8:
        raise DataError(f"{path} holds '{member}' as {kind} of shape {shape}, expected images.")
    return tuple(shape)
