"""Where the files of a plain tar archive lie.

Python's `tarfile` takes a tenth of a millisecond a file, which is a minute for the shards of one
dataset. Shards hold plain files with short names and nothing else, so all else is refused: links,
devices, long names, sparse files. Nothing is unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.data.label_table import plain
from fewtune.datasets.tfrecord import map_file

BLOCK = 512
_FILES = (b"0", b"\0")
_FOLDER = b"5"
# Extended headers: of one file, of all. webdataset writes one a file for the time of change.
_EXTENDED = (b"x", b"g")
_CHANGING = (b"path=", b"size=", b"linkpath=", b"GNU.sparse")


@dataclass(frozen=True, slots=True)
class TarFile:
    """A file of an archive."""

    name: str
    offset: int
    size: int


def tar_files(path: Path) -> Iterator[TarFile]:
    """Yield the files of an archive in its order.

    Raises:
        DataError: The archive is missing, damaged or compressed, or holds anything but files.
    """
    data = map_file(path)
    offset, end = 0, len(data)
    while any(header := data[offset : offset + BLOCK]):
        name, kind, size = _read_header(header, path)
        start = offset + BLOCK
        if start + size > end:
            raise _damaged(path, f"it ends within '{plain(name)}'")
        if kind in _FILES:
            yield TarFile(name, start, size)
        elif kind != _FOLDER and not (kind in _EXTENDED and _is_idle(data[start : start + size])):
            raise DataError(f"{path} holds {plain(name)[:80]!r}, which is no plain file.")
        offset = start + (size + BLOCK - 1) // BLOCK * BLOCK
    if len(header) < BLOCK:  # the last block of an archive is one of zeros
        raise _damaged(path, "it is cut off")


def _read_header(header: bytes, path: Path) -> tuple[str, bytes, int]:
    """Return name, kind and size of a file."""
    if len(header) < BLOCK:
        raise _damaged(path, "it is cut off")
    written = header[148:156]
    # The checksum is the sum of all bytes, its own counted as spaces.
    if _number(written, path) != sum(header) - sum(written) + len(written) * ord(" "):
        raise _damaged(path, "the checksum of a header is wrong")
    return _name(header), header[156:157], _number(header[124:136], path)


def _is_idle(extension: bytes) -> bool:
    """Return whether an extended header leaves name, size and kind of its file as they are."""
    return not any(record in extension for record in _CHANGING)


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "backslashreplace")


def _number(field: bytes, path: Path) -> int:
    """Return a number in octal digits, ended by a space or NUL."""
    digits = field.strip(b" \0")
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise _damaged(path, "a header holds no number where it should")
    return int(digits, 8)


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"Cannot read the archive {path}: {why}.", hint="Fetch the file again.")
