"""Webdataset repositories of the Hugging Face Hub, shard by shard.

Small files are read at `/raw/`, where a large file shows a pointer with its size and SHA-256; the
large file itself is at `/resolve/`. The environment variable HF_ENDPOINT names another server than
https://huggingface.co, such as a mirror.
"""

from __future__ import annotations

import os
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.core.files import write_bytes
from fewtune.data.label_table import is_number
from fewtune.datasets.declaration import Shards
from fewtune.datasets.download.http_file import NotThere, Remote, read_small, refuse_offline

HUB = "https://huggingface.co"
MOST_SHARDS = 100_000
SMALL_BYTES = 1 << 20
POINTER = b"version https://git-lfs.github.com/spec/v1"
# What stands beside the splits; a repository may lack some.
METADATA = ("classnames.txt", "zeroshot_classification_templates.txt", "dataset_type.txt")
COUNT_FILE = "nshards.txt"


def page(shards: Shards) -> str:
    """Return the address of the repository for people."""
    return f"{_endpoint()}/datasets/{shards.repo}"


def shard_count(shards: Shards, split: str) -> int:
    """Return the number of tar files of a split.

    Raises:
        DataError: There is no such repository or split.
    """
    refuse_offline(f"The list of {split} shards of {shards.repo}")
    try:
        text = read_small(_url(shards, "raw", f"{split}/{COUNT_FILE}"), 64)
    except NotThere as error:
        raise DataError(
            f"{page(shards)} has no {split} split any more.",
            hint="Look at that page; a copy elsewhere can be put into the same folder.",
        ) from error
    count = text.decode("ascii", "replace").strip()
    if not is_number(count) or not 0 < int(count) <= MOST_SHARDS:
        raise DataError(f"{page(shards)} says that it has {count[:40]!r} {split} shards.")
    return int(count)


def shard(shards: Shards, split: str, number: int) -> Remote:
    """Return a tar file with the size and checksum that the Hub publishes."""
    return published(_url(shards, "resolve", f"{split}/{number}.tar"))


def published(url: str) -> Remote:
    """Return a file at `/resolve/` with the size and checksum that the Hub publishes.

    A file elsewhere, or one that is small enough to be stored as it is, has neither.

    Raises:
        DataError: The Hub has no such file.
    """
    url = mirrored(url)
    if not url.startswith(_endpoint()) or "/resolve/" not in url:
        return Remote(url)
    pointer = read_small(url.replace("/resolve/", "/raw/", 1), 1024)
    if not pointer.startswith(POINTER):
        return Remote(url)
    lines = pointer.decode("ascii", "replace").splitlines()
    fields = dict(line.split(" ", 1) for line in lines if " " in line)
    kind, _, digest = fields.get("oid", "").partition(":")
    size = fields.get("size", "")
    if kind != "sha256" or len(digest) != 64 or not size.isdigit():
        raise DataError(f"{url} has a damaged pointer on the Hub.", hint="Try again later.")
    return Remote(url, int(size), f"sha256:{digest}")


def mirrored(url: str) -> str:
    """Return the address of a file of the Hub on the server that HF_ENDPOINT names."""
    return _endpoint() + url.removeprefix(HUB) if url.startswith(HUB) else url


def write_metadata(shards: Shards, folder: Path) -> None:
    """Write the class names and templates of the repository, those that it has."""
    for name in METADATA:
        if not (folder / name).is_file():
            try:
                write_bytes(folder / name, read_small(_url(shards, "raw", name), SMALL_BYTES))
            except NotThere:
                continue


def _url(shards: Shards, kind: str, path: str) -> str:
    return f"{page(shards)}/{kind}/main/{path}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB
