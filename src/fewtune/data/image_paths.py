"""Image files behind what people type: files, folders and patterns."""

import glob
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.data.scan import entries, is_image_name


def expand(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the image files behind files, folders (at any depth) and glob patterns.

    A file is yielded whatever its name; in folders and patterns only names of images count, in
    sorted order. Nothing is held but the names of one folder at a time (of one pattern at a time).

    Raises:
        DataError: Nothing is there, or it holds no image. It is raised when its turn comes.
    """
    for path in paths:
        yield from _expand(str(path))


def _expand(text: str) -> Iterator[Path]:
    path = Path(text).expanduser()
    if _exists(path):
        if not path.is_dir():
            yield path
            return
        found = _below(path, ())
    elif glob.has_magic(text):
        matches = (Path(match) for match in sorted(glob.glob(str(path), recursive=True)))
        found = itertools.chain.from_iterable(map(_of_match, matches))
    else:
        raise DataError(f"{text} does not exist.")
    first = next(found, None)
    if first is None:
        kind = "is a folder without images" if path.is_dir() else "matches no image"
        raise DataError(f"{text} {kind}.")
    yield first
    yield from found


def _exists(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL in the name
        return False


def _of_match(path: Path) -> Iterator[Path]:
    if path.is_dir():
        return _below(path, ())
    return iter((path,) if is_image_name(path.name) else ())


def _below(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Yield the images of a folder; links are followed, loops are cut."""
    info = folder.stat()
    identity = (info.st_dev, info.st_ino)
    if identity in above:
        return
    for entry in entries(folder):
        path = Path(entry.path)
        if path.is_dir():
            yield from _below(path, (*above, identity))
        elif is_image_name(entry.name):
            yield path
