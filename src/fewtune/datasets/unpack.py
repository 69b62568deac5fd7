"""Compressed arrays (.gz, .npz), unpacked into the cache once, so that images are read by place."""

from __future__ import annotations

import gzip
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from fewtune.core.errors import DataError
from fewtune.core.files import digest, write_atomic
from fewtune.core.paths import cache_dir

CHUNK_BYTES = 1 << 24
# What compressed files raise when they are cut off, changed, encrypted or packed in another way.
_DAMAGE = (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, RuntimeError, ValueError)


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
