"""Archives, unpacked without trust: nothing leaves its folder, no links, a bounded size.

An archive is unpacked elsewhere on the same disk and moved into its folder when it is complete.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from fewtune.core.errors import DataError

# Called with the number of files that are unpacked.
Progress = Callable[[int], None]

MOST_MEMBERS = 2_000_000
# Label files of smallNORB shrink 280 times, but they are small.
MOST_RATIO = 100
FREE_BYTES = 64 << 20
BLOCK_BYTES = 1 << 20
LONGEST_PATH = 1024
DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError,
    UnicodeError, ValueError, OverflowError, RuntimeError, MemoryError,
)  # fmt: skip


class Readable(Protocol):
    """A file object as far as it is used here."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""


class _Refused(Exception):
    """What is wrong with the archive."""


def unpack(
    archive: Path, folder: Path, place: Path, progress: Progress | None = None
) -> tuple[str, ...]:
    """Unpack a .zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz or .gz; return what is at its top.

    Files of the folder that are not in the archive stay; a file that is there with another size
    stops it before anything is moved.

    Args:
        archive: What to unpack.
        folder: Where to put it; made if need be.
        place: Folder on the same disk to work in; it is emptied first and removed in the end.

    Raises:
        DataError: It is damaged, holds what an archive of images does not, or is a bomb; nothing
            is left behind.
    """
    try:
        shutil.rmtree(place, ignore_errors=True)  # what a killed process left
        place.mkdir(parents=True)
        _Unpacker(archive, place, progress).run()
        made = tuple(sorted(path.name for path in place.iterdir()))
        _move(place, folder)
    except _Refused as error:
        raise DataError(
            f"{archive} is not unpacked: {error}.", hint="Remove it and download it again."
        ) from error
    except DAMAGED as error:
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{archive} is damaged: {reason}.", hint="Remove it and download it again."
        ) from error
    except OSError as error:
        raise DataError(
            f"Cannot unpack {archive} into {folder}: {error.strerror or error}.",
            hint="Free some space or choose another folder with --root.",
        ) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return made


class _Unpacker:
    """Writes members into a folder and counts what they take."""

    def __init__(self, archive: Path, place: Path, progress: Progress | None) -> None:
        self.archive = archive
        self.place = place
        self.progress = progress
        self.members = 0
        self.bytes_left = MOST_RATIO * archive.stat().st_size + FREE_BYTES

    def run(self) -> None:
        name = self.archive.name.lower()
        if zipfile.is_zipfile(self.archive):
            self._zip()
        elif name.endswith(".gz") and not name.endswith(".tar.gz"):
            with gzip.open(self.archive) as stream:
                self._write(self.archive.name[:-3], stream)
        else:
            self._tar()

    def _zip(self) -> None:
        with zipfile.ZipFile(self.archive) as archive:
            needed = sum(info.file_size for info in archive.infolist())
            free = shutil.disk_usage(self.place).free
            if self.bytes_left > needed > free:
                raise _Refused(f"it needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free")
            for info in archive.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if info.is_dir():
                    continue
                if kind not in (0, stat.S_IFREG):
                    raise _Refused(f"{info.filename[:100]!r} is no plain file")
                if info.flag_bits & 1:
                    raise _Refused(f"{info.filename[:100]!r} is encrypted")
                with archive.open(info) as stream:
                    self._write(info.filename, stream)

    def _tar(self) -> None:
        with tarfile.open(self.archive, "r|*") as archive:
            for member in archive:
                if member.isdir():
                    self._count()
                    continue
                if not member.isreg() or member.issparse():
                    raise _Refused(f"{member.name[:100]!r} is no plain file")
                stream = archive.extractfile(member)
                assert stream is not None  # it is a regular file
                self._write(member.name, stream)

    def _count(self) -> None:
        self.members += 1
        if self.members > MOST_MEMBERS:
            raise _Refused(f"it has more than {MOST_MEMBERS:,} members")
        if self.progress is not None:
            self.progress(self.members)

    def _write(self, name: str, stream: Readable) -> None:
        self._count()
        path = self.place / inner_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file: Any = path.open("xb")
        except FileExistsError as error:
            raise _Refused(f"it holds {name[:100]!r} twice") from error
        with file:
            while block := stream.read(BLOCK_BYTES):
                self.bytes_left -= len(block)
                if self.bytes_left < 0:
                    raise _Refused(
                        f"it grows to more than {MOST_RATIO} times its size: a decompression bomb"
                    )
                file.write(block)


def inner_path(name: str) -> str:
    """Return the path of a member, which is relative and stays below its folder.

    Raises:
        _Refused: It does not.
    """
    plain = name.removeprefix("./")
    parts = plain.split("/")
    bad = any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
    if bad or any(character in plain for character in "\\:\0") or len(plain) > LONGEST_PATH:
        raise _Refused(f"{name[:100]!r} is no path within it")
    return plain


def _move(place: Path, folder: Path) -> None:
    """Move all files into the folder, after a look at those that are there."""
    files = sorted(path.relative_to(place) for path in place.rglob("*") if path.is_file())
    for file in files:
        there = folder / file
        if there.exists() and there.stat().st_size != (place / file).stat().st_size:
            raise _Refused(f"{there} exists and is another file")
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(place, folder)
        return
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(place / file, folder / file)
