"""Archives, unpacked without trust: nothing leaves its folder, no links, a bounded size.

An archive is unpacked elsewhere on the same disk and moved into its folder when it is complete.
"""

import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError
from fewtune.datasets.download.http_file import Progress, silent

MOST_MEMBERS = 2_000_000
# Label files of smallNORB shrink 280 times, but they are small.
MOST_RATIO = 100
FREE_BYTES = 64 << 20
BLOCK_BYTES = 1 << 20
LONGEST_PATH = 1024
DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError,
    UnicodeError, ValueError, OverflowError, RuntimeError, MemoryError, LookupError, struct.error,
)  # fmt: skip


class _Refused(Exception):
    """What is wrong with the archive."""


def unpack(
    archive: Path, folder: Path, place: Path, progress: Progress = silent
) -> tuple[str, ...]:
    """Unpack a .zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz or .gz; return what is at its top.

    Files of the folder that are not in the archive stay; a file that is there with another size
    stops it before anything is moved.

    Args:
        folder: Where to put it; made if need be.
        place: Folder on the same disk to work in; it is emptied first and removed in the end.

    Raises:
        DataError: It is damaged, holds what an archive of images does not, or is a bomb; nothing
            is left behind.
    """
    try:
        shutil.rmtree(place, ignore_errors=True)  # what a killed process left
        place.mkdir(parents=True)
        _write_members(archive, place, progress)
        made = tuple(sorted(path.name for path in place.iterdir()))
        _move(place, folder)
    except (_Refused, *DAMAGED) as error:
        found = "not unpacked" if isinstance(error, _Refused) else "damaged"
        raise DataError(
            f"{archive} is {found}: {str(error) or type(error).__name__}.",
            hint="Remove it and download it again.",
        ) from error
    except OSError as error:
        raise DataError(
            f"Cannot unpack {archive} into {folder}: {error.strerror or error}.",
            hint="Free some space or choose another folder with --root.",
        ) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return made


def _write_members(archive: Path, place: Path, progress: Progress) -> None:
    bytes_left = MOST_RATIO * archive.stat().st_size + FREE_BYTES
    free = shutil.disk_usage(place).free
    for number, (name, stream) in enumerate(_members(archive, free, bytes_left), start=1):
        if number > MOST_MEMBERS:
            raise _Refused(f"it has more than {MOST_MEMBERS:,} members")
        progress(number, None)
        if stream is None:
            continue
        path = place / inner_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("xb")
        except FileExistsError as error:
            raise _Refused(f"it holds {name[:100]!r} twice") from error
        with file:
            while block := stream.read(BLOCK_BYTES):
                bytes_left -= len(block)
                if bytes_left < 0:
                    raise _Refused(
                        f"it grows to more than {MOST_RATIO} times its size: a decompression bomb"
                    )
                file.write(block)


def _members(archive: Path, free: int, most: int) -> Iterator[tuple[str, Any]]:
    """Yield name and open file of each member; None is the file of a folder.

    Args:
        most: Bytes that members may take; one that would take more is found as it is written.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            needed = sum(info.file_size for info in packed.infolist())
            if most > needed > free:
                raise _Refused(f"it needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free")
            for info in packed.infolist():
                if info.is_dir():
                    continue
                if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                    raise _Refused(f"{info.filename[:100]!r} is no plain file")
                if info.flag_bits & 1:
                    raise _Refused(f"{info.filename[:100]!r} is encrypted")
                with packed.open(info) as stream:
                    yield info.filename, stream
    elif archive.name.lower().endswith(".gz") and not archive.name.lower().endswith(".tar.gz"):
        with gzip.open(archive) as stream:
            yield archive.name[:-3], stream
    else:
        with tarfile.open(archive, "r|*") as members:
            for member in members:
                if not (member.isreg() or member.isdir()) or member.issparse():
                    raise _Refused(f"{member.name[:100]!r} is no plain file")
                yield member.name, members.extractfile(member)


def inner_path(name: str) -> str:
    """Return the path of a member; refuse one that is absolute or leads out of its folder."""
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
