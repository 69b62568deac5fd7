"""Folder scans: all images below a folder, and a count of what was left out."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.core.naming import counted
from fewtune.data.file_names import is_hidden
from fewtune.data.label_table import plain, shown
from fewtune.data.own_folders import is_run_or_cache, is_written_by_fewtune

SHOWN = 5

# Pillow cannot read HEIC, but such photos are reported instead of ignored.
_IMAGE_NAME = re.compile(
    r".\.(jpe?g|jpe|jfif|mpo|a?png|webp|bmp|dib|gif|tiff?|p[pgbn]m|avif|hei[cf]|jp2|tga|ico)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ScannedImage:
    """A file: its path, the path relative to the scanned folder, and its size (0 if missing)."""

    path: Path
    relative: str
    size_bytes: int


@dataclass
class Skipped:
    """What a scan left out.

    Attributes:
        kinds: Files that are not images, by suffix.
        hidden_images: Hidden files with an image suffix.
        special: Pipes, sockets and devices with an image suffix, by relative path.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    hidden_folders: Counter[str] = field(default_factory=Counter)
    hidden_images: int = 0
    special: Counter[str] = field(default_factory=Counter)
    own: Counter[str] = field(default_factory=Counter)

    def add(self, other: Skipped) -> None:
        """Add the counts of another scan."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def notes(self) -> tuple[str, ...]:
        """Return one note for each kind of file or folder that was left out."""
        notes = []
        if self.kinds:
            notes.append(
                f"ignored {counted(self.kinds.total(), 'file')} of other kinds "
                f"({_most({suffix or 'no suffix': n for suffix, n in self.kinds.items()})})"
            )
        if self.hidden_folders:
            number = counted(self.hidden_folders.total(), "hidden or system folder")
            notes.append(f"ignored {number} ({_most(self.hidden_folders)})")
        if self.hidden_images:
            notes.append(f"ignored {counted(self.hidden_images, 'hidden image')}")
        if self.special:
            number = counted(
                self.special.total(), "pipe, socket or device", "pipes, sockets or devices"
            )
            notes.append(f"left out {number}, which cannot be read as images: {min(self.special)}")
        if self.own:
            number = counted(self.own.total(), "folder")
            notes.append(f"ignored {number} that FewTune wrote: {shown(sorted(self.own), SHOWN)}")
        return tuple(notes)


def _most(counts: Counter[str] | dict[str, int]) -> str:
    return ", ".join(
        f"{plain(name)} {number:,}" for name, number in Counter(counts).most_common(SHOWN)
    )


def is_image_name(name: str) -> bool:
    """Return whether the name has an image suffix."""
    return _IMAGE_NAME.search(name) is not None


def entries(folder: Path, skipped: Skipped | None = None) -> list[os.DirEntry[str]]:
    """Return the visible entries of a folder, sorted by name.

    Args:
        skipped: Hidden entries are counted here.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as scan:
            found = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"Cannot read folder {folder}: {error.strerror or error}.",
            hint=f"Check it with: ls -ld '{folder}'",
        ) from error
    visible = []
    for entry in found:
        if not is_hidden(entry.name):
            visible.append(entry)
        elif skipped is not None:
            if _is_dir(entry):
                skipped.hidden_folders[entry.name] += 1
            else:
                skipped.hidden_images += is_image_name(entry.name)
    return visible


def named_files(folder: Path, pattern: str) -> Iterator[tuple[re.Match[str], Path]]:
    """Yield the visible entries of a folder whose whole name matches, sorted by name."""
    for entry in entries(folder):
        if name := re.fullmatch(pattern, entry.name):
            yield name, Path(entry.path)


def subfolders(folder: Path, skipped: Skipped | None = None) -> list[Path]:
    """Return the visible subfolders, links to folders included, sorted by name."""
    return [Path(entry.path) for entry in entries(folder, skipped) if _is_dir(entry)]


def images_in(folder: Path) -> list[str]:
    """Return the names of the images directly in a folder, sorted."""
    return [e.name for e in entries(folder) if is_image_name(e.name) and not _is_dir(e)]


def images_below(folder: Path, skipped: Skipped) -> list[ScannedImage]:
    """Return all images at any depth, sorted by path; what is left out is counted.

    Links are followed. Pipes are left out, since reading one blocks. A broken link with an image
    suffix is returned with size 0, so that reports can name it.
    """
    found = []
    for entry, relative in _walk(folder, "", (), skipped):
        if not is_image_name(entry.name):
            skipped.kinds[os.path.splitext(entry.name)[1].lower()] += 1
            continue
        try:
            info = entry.stat()
        except OSError:
            found.append(ScannedImage(Path(entry.path), relative, 0))
            continue
        if stat.S_ISREG(info.st_mode):
            found.append(ScannedImage(Path(entry.path), relative, info.st_size))
        else:
            skipped.special[f"{plain(folder.name)}/{plain(relative)}"] += 1
    return sorted(found, key=lambda file: file.relative)


def is_own(folder: Path) -> bool:
    """Return whether FewTune wrote this folder and it holds no other images."""
    return is_written_by_fewtune(folder) and not images_below(folder, Skipped())


def count_images_next_to(paths: Iterable[Path]) -> int:
    """Return the number of further images in the folders of these files."""
    listed: dict[str, set[str]] = {}
    for path in paths:
        folder, name = os.path.split(os.path.normpath(path))
        listed.setdefault(folder, set()).add(name)
    return sum(len(set(images_in(Path(folder))) - names) for folder, names in listed.items())


def size_of(path: Path) -> int | None:
    """Return the size of a file in bytes, or None if there is no such file."""
    try:
        return os.stat(path).st_size if path.is_file() else None
    except (OSError, ValueError):  # a name too long, or with a NUL
        return None


def listed_file(folder: Path, relative: str, where: str) -> ScannedImage:
    """Return the file that a list names by its path relative to a folder.

    Args:
        where: Where it is named, for messages ("test.txt line 3").

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
            hint="Unpack the images next to the lists.",
        )
    return ScannedImage(path, key, size_bytes)


def _walk(
    folder: Path, prefix: str, above: tuple[str, ...], skipped: Skipped
) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Yield files with their relative paths; a folder linked into itself is entered once."""
    real = os.path.realpath(folder)
    if real in above:
        return
    found = entries(folder, skipped)
    if is_run_or_cache(folder, {entry.name for entry in found}):
        skipped.own[plain(folder.name)] += 1
        return
    for entry in found:
        if _is_dir(entry):
            inner = f"{prefix}{entry.name}/"
            yield from _walk(Path(entry.path), inner, (*above, real), skipped)
        else:
            yield entry, prefix + entry.name


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
