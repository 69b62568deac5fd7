"""What is to be downloaded of a data set, and where it goes; nothing is fetched here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewtune.core.errors import ConfigError
from fewtune.data.declaration import Dataset, Download, Shards


def chosen(dataset: Dataset, splits: Sequence[str] = ()) -> list[Download | Shards]:
    """Return the downloads that hold one of the splits; all without splits.

    Raises:
        ConfigError: No download holds such a split.
    """
    found = [
        d for d in dataset.downloads if not splits or not d.splits or set(splits) & {*d.splits}
    ]
    known = {split for item in dataset.downloads for split in item.splits or splits}
    missing = [split for split in splits if split not in known]
    if missing:
        raise ConfigError(
            f"{dataset.title} has no {missing[0]!r} split that can be downloaded on its own.",
            hint=f"It has: {', '.join(sorted(known - {*missing})) or 'none'}.",
        )
    return found


def size_bytes(dataset: Dataset) -> tuple[int, bool]:
    """Return the known bytes of all downloads, and whether that is all of them."""
    sizes = [item.size_bytes for item in dataset.downloads]
    return sum(size or 0 for size in sizes), None not in sizes


def targets(dataset: Dataset, root: Path) -> set[Path]:
    """Return the folders and files below `root` into which the data set is downloaded."""
    return {
        folder_of(item, root)
        if isinstance(item, Shards)
        else root / Path(item.unpack if item.unpack not in (None, "", ".") else item.path).parts[0]
        for item in dataset.downloads
    }


def folder_of(shards: Shards, root: Path) -> Path:
    """Return where the repository is put: in a folder of its own name."""
    return root / shards.repo.rpartition("/")[2]
