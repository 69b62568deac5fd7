"""TFRecord files, read without TensorFlow: where records lie and what they hold.

A record is its length (8 bytes, little-endian), a checksum of the length, the data, and a checksum
of the data. The data is a protocol buffer `tf.train.Example`: named lists of bytes, floats or
integers. Bytes are not copied but located, so that images stay in the file until they are needed.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fewtune.core.errors import DataError

_POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected
_MASK = 0xA282EAD8
_LENGTH = struct.Struct("<QI")
_FOOTER = 4
_FIXED = {1: 8, 5: 4}  # sizes of wire types of fixed size


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_crc_of, range(256)))


class Span(NamedTuple):
    """A run of bytes of a file."""

    offset: int
    size: int


Values = list[Span] | list[float] | list[int]
Data = mmap.mmap | bytes


class Features(Mapping[str, Values]):
    """The lists of a record by name, read when they are asked for: most never are.

    Bytes are given as their places in the file.

    Raises:
        DataError: The record is no `tf.train.Example`; of a list, when it is asked for.
    """

    def __init__(self, data: Data, record: Span, path: Path) -> None:
        self._data = data
        self._record = record
        self._path = path
        self._places = self._read(lambda: _places(data, record))

    def __getitem__(self, name: str) -> Values:
        place = self._places[name]
        values: Values = self._read(lambda: _values(self._data, place))
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _read(self, parse: Callable[[], Any]) -> Any:
        try:
            return parse()
        except (ValueError, IndexError, struct.error) as error:
            offset = self._record.offset - _LENGTH.size
            raise _damaged(self._path, offset, "it is no tf.train.Example") from error


def map_file(path: Path) -> Data:
    """Return the contents of a file, brought into memory as they are looked at.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                return b""
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error


def locate_records(data: Data, path: Path) -> Iterator[Span]:
    """Yield where the data of each record lies.

    Lengths are checked against their checksums, the data is not.

    Raises:
        DataError: The file is cut off or damaged.
    """
    offset, end = 0, len(data)
    while offset < end:
        start = offset + _LENGTH.size
        if start > end:
            raise _damaged(path, offset, "the file is cut off")
        size, checksum = _LENGTH.unpack_from(data, offset)
        if checksum != masked_crc32c(data[offset : offset + 8]):
            raise _damaged(path, offset, "the checksum of its length is wrong")
        offset = start + size + _FOOTER
        if offset > end:
            raise _damaged(path, start - _LENGTH.size, "the file is cut off")
        yield Span(start, size)


def masked_crc32c(data: bytes) -> int:
    """Return the checksum that record files use: CRC-32C, rotated and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def _damaged(path: Path, offset: int, why: str) -> DataError:
    return DataError(
        f"{path} is damaged: of the record at byte {offset}, {why}.", hint="Fetch the file again."
    )


def _places(data: Data, record: Span) -> dict[str, Span]:
    """Example{1: Features{1: entry{1: name, 2: Feature}}}: return where each Feature lies."""
    found = {}
    for number, example in _fields(data, record):
        if number != 1:
            continue
        for _, entry in _fields(data, example):
            name, feature = "", Span(0, 0)
            for part, span in _fields(data, entry):
                if part == 1:
                    name = bytes(data[span.offset : span.offset + span.size]).decode()
                elif part == 2:
                    feature = span
            found[name] = feature
    return found


def _values(data: Data, feature: Span) -> Values:
    """Feature{1: list of bytes | 2: list of floats | 3: list of integers}, each in its field 1."""
    for kind, span in _fields(data, feature):
        if kind == 1:
            return [value for _, value in _fields(data, span)]
        if kind == 2:
            return _floats(data, span)
        if kind == 3:
            return _integers(data, span)
    return []


def _floats(data: Data, span: Span) -> list[float]:
    """Packed or not, floats are runs of 4 bytes."""
    found: list[float] = []
    for _, run in _fields(data, span):
        if run.size % 4:
            raise ValueError("a run of floats has a broken length")
        found += struct.unpack_from(f"<{run.size // 4}f", data, run.offset)
    return found


def _integers(data: Data, span: Span) -> list[int]:
    """Packed or not, integers are runs of varints."""
    found = []
    for _, run in _fields(data, span):
        offset, end = run.offset, run.offset + run.size
        while offset < end:
            value, offset = _varint(data, offset, end)
            found.append(value - (1 << 64) if value >> 63 else value)
    return found


def _fields(data: Data, message: Span) -> Iterator[tuple[int, Span]]:
    """Yield the number and the contents of each field of a message."""
    offset, end = message.offset, message.offset + message.size
    while offset < end:
        tag, offset = _varint(data, offset, end)
        kind = tag & 7
        if kind == 2:
            size, offset = _varint(data, offset, end)
        elif kind == 0:
            size = _varint(data, offset, end)[1] - offset
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if offset + size > end:
            raise ValueError("a field ends beyond its message")
        yield tag >> 3, Span(offset, size)
        offset += size


def _varint(data: Data, offset: int, end: int) -> tuple[int, int]:
    """Return an integer of 7 bits a byte, and where it ends."""
    if offset < end and data[offset] < 0x80:  # nearly all are of one byte
        return data[offset], offset + 1
    value = 0
    for shift in range(0, 70, 7):
        if offset >= end:
            raise ValueError("a number is cut off")
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, offset
    raise ValueError("a number is too long")
