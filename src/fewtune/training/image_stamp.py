"""Stamp of a run's images: whether they are still those that it was made with.

A task is named by the names and sizes of its images. Pixels may change under the same name and size
(uncompressed exports do), so a run stores when its files were changed, and a digest of their bytes
that is looked at where these times differ.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.core.files import digest, read_json, write_sealed
from fewtune.core.task import Example
from fewtune.data.arrays import content_digest

FILE = "images.json"
READERS = 8


def store_stamp(run: Path, learned: Sequence[Example], scored: Sequence[Example] = ()) -> None:
    """Write the stamp of the images that a run learns from and is scored on.

    Args:
        scored: () before they may be read.
    """
    value = {"learned": content_of(learned), "times": times_of([*learned, *scored])}
    write_sealed(run / FILE, value | ({"scored": content_of(scored)} if scored else {}))


def changed_content(run: Path, learned: Sequence[Example], scored: Sequence[Example]) -> str:
    """Return 12 hexadecimal digits of the images' content, "" if they are those of the run.

    A run of a version that stored no stamp, and images that are gone, count as unchanged.
    """
    if not (run / FILE).exists():
        return ""
    stored = read_json(run / FILE)
    if stored["times"] == times_of([*learned, *(scored if "scored" in stored else ())]):
        return ""
    try:
        found = {"learned": content_of(learned), "scored": content_of(scored)}
    except (DataError, OSError):
        return ""
    same = all(stored.get(name, value) == value for name, value in found.items())
    return "" if same else digest(found)[:12]


def times_of(examples: Sequence[Example]) -> str:
    """Return a digest of name, size and time of change of the images that are files."""
    stamps: list[list[str | int]] = []
    for key, path in _files(examples):
        try:
            info = path.stat()
        except OSError:
            stamps.append([key])
        else:
            stamps.append([key, info.st_size, info.st_mtime_ns])
    return digest(stamps)


def content_of(examples: Sequence[Example]) -> str:
    """Return a digest of the bytes of the images that are files.

    Raises:
        DataError: One cannot be read.
    """
    files = _files(examples)
    with ThreadPoolExecutor(READERS) as pool:
        digests = pool.map(content_digest, (path for _, path in files))
        return digest([[key, found] for (key, _), found in zip(files, digests, strict=True)])


def _files(examples: Sequence[Example]) -> list[tuple[str, Path]]:
    return sorted((e.key, e.source) for e in examples if isinstance(e.source, Path))
