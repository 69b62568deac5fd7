"""Downloads of datasets, into the folders where their readers look.

What is complete is not fetched again, what is not is continued. An archive that has been unpacked
is removed; a note in `ROOT/.downloads` says that it was here.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from fewtune.core.errors import ConfigError, DataError
from fewtune.core.files import read_json, write_json, write_text
from fewtune.core.lock import locked
from fewtune.datasets.declaration import Dataset, Download, Shards
from fewtune.datasets.download import hub_shards
from fewtune.datasets.download.archive import unpack
from fewtune.datasets.download.download_plan import chosen, folder_of
from fewtune.datasets.download.http_file import Remote, fetch, refuse_offline, silent

# Called with what is being done, how much of it is done, and how much it is in all or None;
# bytes for files, members for archives.
Tell = Callable[[str, int, int | None], None]

NOTES = ".downloads"


def download(
    dataset: Dataset,
    root: Path,
    splits: Sequence[str] = (),
    tell: Tell = silent,
    *,
    shards: bool = False,
) -> list[Path]:
    """Download a dataset and return the files and folders that are now there.

    Args:
        root: Folder of all datasets; made if need be.
        splits: Fetch only what holds one of these; empty for all. Archives that hold all splits
            are fetched in any case.
        shards: Fetch webdataset shards where the authors' files can be had, too.

    Raises:
        ConfigError: The dataset has no such split, or nothing of it can be fetched by a program.
        DataError: A file cannot be had, is not what was expected, or there is no room for it.
        RunError: Another process is downloading into this folder.
    """
    if not dataset.downloads:
        raise ConfigError(
            f"{dataset.title} cannot be downloaded by a program.", hint=dataset.by_hand
        )
    items = chosen(dataset, splits, shards)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / NOTES, wait=False):
        _require_free(sum(_needed(items, root)), root)
        placed = []
        for item in items:
            try:
                if isinstance(item, Shards):
                    placed.append(_fetch_shards(item, root, splits, tell))
                else:
                    placed.append(_fetch_file(item, root, tell))
            except DataError as error:
                if not dataset.by_hand:
                    raise
                hint = f"{error.hint} By hand: {dataset.by_hand}"
                raise DataError(error.what, hint=hint) from error
    return placed


def _fetch_file(item: Download, root: Path, tell: Tell) -> Path:
    archive = root / item.path
    place = archive if item.unpack is None else root / item.unpack
    if _noted(item, root):
        return place
    if not archive.is_file():
        refuse_offline(archive.name)
        known = Remote(hub_shards.mirrored(item.url), item.size_bytes, item.checksum)
        remote = known if item.checksum else hub_shards.published(item.url)
        fetch(remote, archive, partial(tell, archive.name))
    if item.unpack is not None:
        work = root / NOTES / "unpacking"
        made = unpack(archive, place, work, partial(tell, f"unpacking {archive.name}"))
        for inner in item.inner:
            nested = place / inner
            unpack(nested, nested.parent, work, partial(tell, f"unpacking {nested.name}"))
            nested.unlink()
        write_json(_note(item, root), {"url": item.url, "made": made})
        archive.unlink()
    return place


def _fetch_shards(shards: Shards, root: Path, splits: Sequence[str], tell: Tell) -> Path:
    folder = folder_of(shards, root)
    for split in shards.splits:
        count_file = folder / split / hub_shards.COUNT_FILE
        if (splits and split not in splits) or count_file.is_file():
            continue
        count = hub_shards.shard_count(shards, split)
        hub_shards.write_metadata(shards, folder)
        for number in range(count):
            path = folder / split / f"{number}.tar"
            text = f"{folder.name}/{split}/{number}.tar ({number + 1} of {count})"
            if not path.is_file():
                remote = hub_shards.published(hub_shards.url(shards, f"{split}/{number}.tar"))
                _require_free(remote.size_bytes or 0, root)
                fetch(remote, path, partial(tell, text))
        # Last: to readers, a split with this file is complete.
        write_text(count_file, f"{count}\n")
    return folder


def _needed(items: Iterable[Download | Shards], root: Path) -> Iterator[int]:
    """Yield the bytes that each item takes; an unpacked archive is counted twice."""
    for item in items:
        if isinstance(item, Shards):
            if not folder_of(item, root).exists():
                yield item.size_bytes or 0
        elif item.size_bytes and not _noted(item, root):
            part = root / f"{item.path}.part"
            here = next((p.stat().st_size for p in (root / item.path, part) if p.is_file()), 0)
            yield item.size_bytes - here + (0 if item.unpack is None else item.size_bytes)


def _require_free(needed: int, root: Path) -> None:
    free = shutil.disk_usage(root).free
    if needed > free:
        raise DataError(
            f"The download needs {needed / 1e9:.1f} GB and {root} has {free / 1e9:.1f} GB left.",
            hint="Free some space, fetch one split with --split, or use another disk: --root DIR",
        )


def _noted(item: Download, root: Path) -> bool:
    """Return whether the archive has been unpacked and what it held is still there."""
    if item.unpack is None or not _note(item, root).is_file():
        return False
    made = read_json(_note(item, root)).get("made", [""])
    return all((root / item.unpack / name).exists() for name in made)


def _note(item: Download, root: Path) -> Path:
    return root / NOTES / f"{hashlib.sha256(item.url.encode()).hexdigest()[:16]}.json"
