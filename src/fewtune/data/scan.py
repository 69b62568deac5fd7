"""Walk folders of images: hidden entries skipped, links followed, loops cut."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fewtune.core.errors import DataError

# HEIC is here though Pillow cannot read it: such photos are reported, not passed over.
_IMAGE_NAME = re.compile(
    r".\.(jpe?g|jpe|jfif|mpo|a?png|webp|bmp|dib|gif|tiff?|p[pgbn]m|avif|hei[cf]|jp2|tga|ico)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ScannedImage:
    """A file: its path, the same relative to where the walk began, and its size (0 if missing)."""

    path: Path
    relative: str
    size_bytes: int


def is_image_name(name: str) -> bool:
    """Return whether the suffix is one of an image."""
    return _IMAGE_NAME.search(name) is not None


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the visible entries of a folder, sorted by name.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as scan:
            return sorted((e for e in scan if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise DataError(
            f"Cannot read folder {folder}: {error.strerror or error}.",
            hint=f"Check it with: ls -ld '{folder}'",
        ) from error


def subfolders(folder: Path) -> list[Path]:
    """Return the visible subfolders of a folder, links to folders included, sorted by name."""
    return [Path(entry.path) for entry in entries(folder) if _is_dir(entry)]


def holds_images(folder: Path) -> bool:
    """Return whether an image stands directly in the folder."""
    return any(is_image_name(entry.name) and not _is_dir(entry) for entry in entries(folder))


def images_below(folder: Path, ignored: Counter[str]) -> list[ScannedImage]:
    """Return all images at any depth, sorted by path; other files are counted by suffix.

    A broken link with an image's suffix is returned with size 0, so that a report can name it.
    """
    found = []
    for entry, relative in _walk(folder, "", ()):
        if is_image_name(entry.name):
            found.append(ScannedImage(Path(entry.path), relative, _size(entry)))
        else:
            ignored[os.path.splitext(entry.name)[1].lower()] += 1
    return sorted(found, key=lambda file: file.relative)


def size_of(path: Path) -> int | None:
    """Return the size of a file in bytes, or None if there is no such file."""
    try:
        return os.stat(path).st_size if path.is_file() else None
    except (OSError, ValueError):  # a name too long, or with a NUL
        return None


def listed_file(folder: Path, relative: str, where: str) -> ScannedImage:
    """Return the file that a list names by its path relative to a folder.

    Args:
        where: What names it, for messages ("test.txt line 3").

    Raises:
        DataError: The path leads out of the folder, or there is no such file.
    """
    key = posixpath.normpath(relative.strip())
    if key.startswith(("/", "..")):
        raise DataError(
            f"{where} in {folder} leads out of the folder: '{relative}'.",
            hint="Paths in lists are relative to the folder of the list.",
        )
    path = folder / key
    size_bytes = size_of(path)
    if size_bytes is None:
        raise DataError(
            f"{where} names '{relative}', which does not exist in {folder}.",
            hint="Unpack the images beside the lists.",
        )
    return ScannedImage(path, key, size_bytes)


def _walk(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Yield files with their relative paths; a folder that contains itself is entered once."""
    try:
        info = os.stat(folder)
    except OSError as error:
        raise DataError(f"Cannot read folder {folder}: {error.strerror or error}.") from error
    identity = (info.st_dev, info.st_ino)
    if identity in above:
        return
    for entry in entries(folder):
        if _is_dir(entry):
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", (*above, identity))
        elif not _is_special(entry):
            yield entry, prefix + entry.name


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Return whether it is a pipe, socket or device, which would block a reader."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0
