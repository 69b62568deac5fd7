"""Downloads of single files: continued where they stopped, checked, then put in place.

What has arrived lies next to the file as `NAME.part` until its size and checksum are right, so a
file under its own name is always complete.
"""

import contextlib
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError
from fewtune.data.scan import size_of

# Called now and then with what is there and what it is in all, or None: bytes of a file, members of
# an archive.
Progress = Callable[[int, int | None], None]

TIMEOUT_S = 30.0
ATTEMPTS = 5
FIRST_WAIT_S = 1.0
BLOCK_BYTES = 1 << 20
PASSING = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Remote:
    """A file on the web, and what is known of it.

    Attributes:
        size_bytes: None where it is not known.
        checksum: "sha256:..." or "md5:..."; empty where it is not known.
    """

    url: str
    size_bytes: int | None = None
    checksum: str = ""


def silent(*_: object) -> None:
    """Tell nobody."""


class NotThere(DataError):
    """The server knows no such file."""


class _Passing(Exception):
    """A fault that may be gone in a moment."""


def refuse_offline(what: str) -> None:
    """Refuse to download where the user has asked for no network.

    Raises:
        DataError: HF_HUB_OFFLINE is set.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DataError(
            f"{what} is not here, and HF_HUB_OFFLINE is set, so nothing is downloaded.",
            hint="Unset it, or copy the files from a machine with network.",
        )


def fetch(remote: Remote, path: Path, progress: Progress = silent) -> Path:
    """Download a file to `path` and return that; a file that is there already is left as it is.

    Raises:
        DataError: The file cannot be had, or what arrived is not what was expected; a part that
            can be continued is kept, a wrong file is not.
    """
    if path.is_file():
        return path
    refuse_offline(path.name)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            continued = size_of(part)
            receive = partial(_receive, remote, part, progress)
            _try_again(remote.url, receive, lambda: size_of(part) or 0)
            complaint = _complaint(remote, part)
            if not complaint:
                break
            _forget(part)
            # A beginning from elsewhere, or of an older version: once more, from zero.
            if not continued:
                raise DataError(
                    f"{remote.url} is not what was expected: {complaint}. It was removed.",
                    hint="Try again; if it stays so, the file was replaced where it is published.",
                )
        os.replace(part, path)
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error.strerror or error}.",
            hint="Free some space or choose another folder with --root; what has arrived is kept.",
        ) from error
    _etag_file(part).unlink(missing_ok=True)
    return path


def read_small(url: str, most_bytes: int) -> bytes:
    """Return the first bytes of a file on the web.

    Raises:
        DataError: It cannot be had.
    """

    def read() -> bytes:
        with _open(url, {}) as response:
            return bytes(response.read(most_bytes))

    data: bytes = _try_again(url, read)
    return data


def _try_again(url: str, get: Callable[[], Any], arrived: Callable[[], int] = int) -> Any:
    """Return what `get` returns, called again after faults that may pass.

    Args:
        arrived: Returns how many bytes are there; attempts are counted since there were more.
    """
    attempt = 1
    while True:
        before = arrived()
        try:
            return get()
        except _Passing as error:
            attempt = 1 if arrived() > before else attempt + 1
            if attempt >= ATTEMPTS:
                raise DataError(
                    f"{url} cannot be fetched: {error}.",
                    hint="Check the network and type the command again: it continues where it "
                    "stopped.",
                ) from error
            time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))


def _receive(remote: Remote, part: Path, progress: Progress) -> None:
    """Append to `part` until the server says that nothing is left."""
    start = size_of(part) or 0
    if remote.size_bytes is not None and start >= remote.size_bytes:
        return
    headers = _range(start, part, remote)
    with _open(remote.url, headers) as response:
        if response.status != 206:
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else remote.size_bytes
        if remote.size_bytes is not None and total is not None and total > remote.size_bytes:
            raise DataError(
                f"{remote.url} has {total:,} bytes, expected {remote.size_bytes:,}.",
                hint="The file was replaced where it is published; fetch it by hand.",
            )
        _note_etag(part, response.headers.get("ETag"))
        with part.open("ab" if start else "wb") as file:
            done = start
            while block := _read(response):
                file.write(block)
                done += len(block)
                progress(done, total)
    if total is not None and done < total:
        raise _Passing(f"the connection ended after {done:,} of {total:,} bytes")


def _range(start: int, part: Path, remote: Remote) -> dict[str, str]:
    """Return the headers that ask for the rest; a file of unknown content must not have changed."""
    if start == 0:
        return {}
    try:
        etag = _etag_file(part).read_text(encoding="ascii")
    except (OSError, ValueError):
        etag = ""
    if not etag and not remote.checksum:
        return {}
    headers = {"Range": f"bytes={start}-"}
    return headers | {"If-Range": etag} if etag else headers


def _open(url: str, headers: Mapping[str, str]) -> Any:
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{url!r} is no address of the web.")
    request = urllib.request.Request(url, headers={"User-Agent": "fewtune", **headers})
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in PASSING:
            raise _Passing(f"the server answered {error.code} {error.reason}") from error
        if error.code == 416:  # the part is longer than the file: it is not of this file
            raise DataError(
                f"{url} cannot be continued: what has arrived is longer than the file.",
                hint="Remove the file that ends in .part and type the same command again.",
            ) from error
        kind = NotThere if error.code in (404, 410) else DataError
        raise kind(
            f"{url} cannot be fetched: the server answered {error.code} {error.reason}.",
            hint="It may have moved; `fewtune data info NAME` shows the page of the dataset.",
        ) from error
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise _Passing(str(reason) or type(error).__name__) from error


def _read(response: Any) -> bytes:
    try:
        block: bytes = response.read1(BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _Passing(str(error) or type(error).__name__) from error
    return block


def _complaint(remote: Remote, part: Path) -> str:
    """Return why the file is not the expected one; empty if it is."""
    size = part.stat().st_size
    if remote.size_bytes is not None and size != remote.size_bytes:
        return f"it has {size:,} bytes, expected {remote.size_bytes:,}"
    if remote.checksum:
        kind, _, expected = remote.checksum.partition(":")
        with part.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        return "" if found == expected else f"its {kind} is {found}, expected {expected}"
    with part.open("rb") as file:
        start = file.read(64).lstrip().lower()
    return "it is a web page" if start.startswith((b"<!doctype html", b"<html")) else ""


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _note_etag(part: Path, etag: str | None) -> None:
    """Remember which version the part belongs to; a weak tag does not say that."""
    with contextlib.suppress(OSError, ValueError):
        if etag and not etag.startswith("W/"):
            _etag_file(part).write_text(etag, encoding="ascii")
        else:
            _etag_file(part).unlink(missing_ok=True)


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _etag_file(part).unlink(missing_ok=True)
