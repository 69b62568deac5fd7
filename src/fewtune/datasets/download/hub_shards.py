"""Webdataset repositories of the Hugging Face Hub, shard by shard.

Addresses, sizes and SHA-256 of files come from huggingface_hub; the files themselves are fetched as
those of any other server. The environment variable HF_ENDPOINT names another server than
https://huggingface.co, such as a mirror.
"""

import contextlib
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.core.files import write_bytes
from fewtune.data.label_table import is_number
from fewtune.datasets.declaration import Shards
from fewtune.datasets.download.http_file import NotThere, Remote, read_small, refuse_offline

HUB = "https://huggingface.co"
MOST_SHARDS = 100_000
SMALL_BYTES = 1 << 20
SHA256_DIGITS = 64
# What lies next to the splits; a repository may lack some.
METADATA = ("classnames.txt", "zeroshot_classification_templates.txt", "dataset_type.txt")
COUNT_FILE = "nshards.txt"


def page(shards: Shards) -> str:
    """Return the address of the repository for people."""
    return mirrored(f"{HUB}/datasets/{shards.repo}")


def url(shards: Shards, path: str) -> str:
    """Return the address of a file of the repository."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(shards.repo, path, repo_type="dataset")


def shard_count(shards: Shards, split: str) -> int:
    """Return the number of tar files of a split.

    Raises:
        DataError: There is no such repository or split.
    """
    refuse_offline(f"The list of {split} shards of {shards.repo}")
    try:
        text = read_small(url(shards, f"{split}/{COUNT_FILE}"), 64)
    except NotThere as error:
        raise DataError(
            f"{page(shards)} has no {split} split any more.",
            hint="Look at that page; a copy elsewhere can be put into the same folder.",
        ) from error
    count = text.decode("ascii", "replace").strip()
    if not is_number(count) or not 0 < int(count) <= MOST_SHARDS:
        raise DataError(f"{page(shards)} says that it has {count[:40]!r} {split} shards.")
    return int(count)


def published(address: str) -> Remote:
    """Return a file with the size and checksum that the Hub publishes.

    A file on another server has neither, a small one of the Hub has no checksum.

    Raises:
        DataError: The Hub has no such file, or cannot be reached.
    """
    from huggingface_hub import get_hf_file_metadata

    address = mirrored(address)
    if not address.startswith(mirrored(HUB)):
        return Remote(address)
    try:
        about = get_hf_file_metadata(address, retry_on_errors=True)
    # The HTTP library below huggingface_hub, and so its errors, differ between versions.
    except Exception as error:
        raise DataError(
            f"{address} cannot be fetched: {str(error).strip().partition(chr(10))[0]}.",
            hint="Check the network and type the command again: it continues where it stopped.",
        ) from error
    known = about.etag is not None and len(about.etag) == SHA256_DIGITS
    return Remote(address, about.size, f"sha256:{about.etag}" if known else "")


def mirrored(address: str) -> str:
    """Return the address of a file of the Hub on the server that HF_ENDPOINT names."""
    from huggingface_hub import constants

    return address.replace(HUB, constants.ENDPOINT) if address.startswith(HUB) else address


def write_metadata(shards: Shards, folder: Path) -> None:
    """Write the class names and templates of the repository, those that it has."""
    for name in METADATA:
        if not (folder / name).is_file():
            with contextlib.suppress(NotThere):
                write_bytes(folder / name, read_small(url(shards, name), SMALL_BYTES))
