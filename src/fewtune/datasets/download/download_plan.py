"""Plan of a download: which files of a dataset, and where they go; nothing is fetched here."""

from collections.abc import Sequence
from pathlib import Path

from fewtune.core.errors import ConfigError
from fewtune.datasets.declaration import Dataset, Download, Shards


def chosen(
    dataset: Dataset, splits: Sequence[str] = (), shards: bool = False
) -> list[Download | Shards]:
    """Return what to fetch: the authors' files, or shards where there are none or they are meant.

    Args:
        splits: Fetch only what holds one of these; shards are, where there are both.
        shards: Fetch shards where there are both.

    Raises:
        ConfigError: No download holds such a split, or there are no shards.
    """
    files = [item for item in dataset.downloads if isinstance(item, Download)]
    parts = [item for item in dataset.downloads if isinstance(item, Shards)]
    if shards and not parts:
        raise ConfigError(f"{dataset.title} has no webdataset shards.", hint="Leave out --shards.")
    found: list[Download | Shards] = []
    found += parts if parts and (shards or splits or not files) else files
    known = {split for item in found for split in item.splits or splits}
    missing = [split for split in splits if split not in known]
    if missing:
        raise ConfigError(
            f"{dataset.title} has no {missing[0]!r} split that can be downloaded on its own.",
            hint=f"It has: {', '.join(sorted(known - {*missing})) or 'none'}.",
        )
    return [item for item in found if not splits or not item.splits or {*splits} & {*item.splits}]


def size_bytes(dataset: Dataset) -> tuple[int, bool]:
    """Return the known bytes of what is fetched by default, and whether that is all of it."""
    sizes = [item.size_bytes for item in chosen(dataset)]
    return sum(size or 0 for size in sizes), None not in sizes


def targets(dataset: Dataset, root: Path) -> set[Path]:
    """Return the folders and files below `root` into which the dataset is downloaded."""
    return {
        folder_of(item, root)
        if isinstance(item, Shards)
        else root / Path(item.unpack if item.unpack not in (None, "", ".") else item.path).parts[0]
        for item in dataset.downloads
    }


def folder_of(shards: Shards, root: Path) -> Path:
    """Return where the repository is put: in a folder of its own name."""
    return root / shards.repo.rpartition("/")[2]
