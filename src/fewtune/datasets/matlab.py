"""Arrays of numbers in MATLAB files of version 5 to 7, and packages that few datasets need.

SciPy reads such files too, but crashes the interpreter on some that are damaged. A file is a
header of 128 bytes and a list of elements. An element is a type, a size and data; an array is an
element of elements: flags with its class, lengths, name and values. It may be compressed.
"""

from __future__ import annotations

import importlib
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError

_HEADER = 128
_ARRAY, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}
_TYPES |= {12: "<i8", 13: "<u8"}
# Classes of arrays of numbers; others are texts, cells, structures and objects.
_NUMBERS = range(6, 16)
_MOST_BYTES = 1 << 30
_NAME_BYTES = 1 << 10


def read_mat(path: Path, name: str) -> Any:
    """Return an array of whole numbers of a MATLAB file.

    Raises:
        DataError: The file is damaged, of version 7.3, or has no such array.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    if len(data) < _HEADER or data[126:128] != b"IM" or data.startswith(b"MATLAB 7.3"):
        raise DataError(f"{path} is no MATLAB file of version 5 to 7.", hint="Fetch it again.")
    try:
        for kind, element in _elements(data[_HEADER:]):
            array = _find(kind, element, name)
            if array is not None:
                return array
    except (ValueError, struct.error, zlib.error) as error:
        raise DataError(
            f"Cannot read '{name}' in {path}: {error}.", hint="Fetch the file again."
        ) from error
    raise DataError(f"Cannot read '{name}' in {path}: there is no such array of numbers.")


def optional(module: str, purpose: str) -> Any:
    """Return a module of a package that FewTune does not require.

    Raises:
        DataError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DataError(
            f"The package '{package}' is needed to {purpose}, but it is not installed.",
            hint=f"Type: pip install {package}",
        ) from error


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and data of each element."""
    offset = 0
    while offset + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, offset)
        if kind >> 16:  # up to four bytes, in the place of the size
            kind, size = kind & 0xFFFF, kind >> 16
            start, after = offset + 4, offset + 8
        else:
            start = offset + 8
            # Only compressed elements are not filled up to eight bytes.
            after = start + (size if kind == _COMPRESSED else (size + 7) // 8 * 8)
        if start + size > len(data):
            raise ValueError("it is cut off")
        yield kind, data[start : start + size]
        offset = after


def _find(kind: int, element: bytes, name: str) -> Any:
    """Return the array in an element, or None if it is not the one of this name."""
    if kind == _COMPRESSED:
        inner = zlib.decompressobj().decompress(element, _NAME_BYTES)
        if name.encode() not in inner:
            return None
        stream = zlib.decompressobj()
        inner = stream.decompress(element, _MOST_BYTES)
        if stream.unconsumed_tail:
            raise ValueError(f"it holds more than {_MOST_BYTES >> 20} MiB")
        if not stream.eof:
            raise ValueError("it is cut off")
        kind, element = next(_elements(inner), (0, b""))
    if kind != _ARRAY:
        return None
    parts = list(_elements(element))
    if len(parts) < 4 or parts[2][1].decode("latin-1") != name:
        return None
    (_, flags), (_, lengths), _, (stored, values) = parts[:4]
    return _array(flags, lengths, stored, values)


def _array(flags: bytes, lengths: bytes, kind: int, values: bytes) -> Any:
    """Return an array; its values may be stored in a shorter type than its class."""
    import numpy as np

    shape = struct.unpack(f"<{len(lengths) // 4}i", lengths)
    if not flags or flags[0] not in _NUMBERS or kind not in _TYPES:
        raise ValueError("it holds no numbers")
    array = np.frombuffer(values, _TYPES[kind])
    if min(shape, default=-1) < 0 or math.prod(shape) != array.size:
        raise ValueError(f"it holds {array.size} numbers for the shape {shape}")
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # of infinities, which are not whole
            whole = array.astype(np.int64)
        if not (whole == array).all():
            raise ValueError("its numbers are not whole")
        array = whole
    return array.reshape(shape, order="F")
