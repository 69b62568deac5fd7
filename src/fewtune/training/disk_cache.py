"""Disk cache: activations of frozen stages, shared by runs and by processes.

An entry is a folder with one safetensors file that holds one tensor, and is named by a hash of its
key (fewtune.training.cache_key), which the file states too. Only such entries are counted or
removed; the folder of the cache may hold anything else. An entry is a copy of what can be computed
again: one that is damaged or cannot be written costs time, never a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.core.errors import RunError
from fewtune.core.files import digest, load_json
from fewtune.core.lock import locked
from fewtune.core.paths import cache_dir

if TYPE_CHECKING:
    from torch import Tensor

FILE = "activations.safetensors"
LIMIT_BYTES = 20 << 30
SPARE_BYTES = 2 << 30  # left free on the disk
LEAST_S = 0.5
ABANDONED_S = 86_400
LOCK = ".lock"
READING_BYTES_PER_S = 200e6  # of a slow disk; what is computed faster is not stored


_ENTRY = re.compile(r"[0-9a-f]{32}")
_TEMPORARY = re.compile(rf"\.{re.escape(FILE)}\.\d+(-[0-9a-f]{{6}})?\.tmp")


@dataclass(frozen=True)
class CacheFile:
    """One tensor in the cache.

    Attributes:
        about: Its key; empty if the file is damaged.
        used: When it was last read or written, in seconds since 1970.
    """

    folder: Path
    about: dict[str, Any]
    size_bytes: int
    used: float


def activations_dir() -> Path:
    """Return the default folder of the cache."""
    return cache_dir() / "activations"


class DiskCache:
    """The cache in one folder.

    Args:
        folder: Made when it is first written.
        note: Receives a message when the cache cannot be used.
        limit_bytes: Size beyond which the entries that were not used for longest are removed.
        least_s: What is computed in less time is not stored.
    """

    def __init__(
        self,
        folder: Path,
        note: Callable[[str], None],
        *,
        limit_bytes: int = LIMIT_BYTES,
        least_s: float = LEAST_S,
    ) -> None:
        self.folder = folder
        self.note = note
        self.limit_bytes = limit_bytes
        self.least_s = least_s

    def get(self, key: dict[str, Any], compute: Callable[[], Tensor]) -> Tensor:
        """Return the tensor (of any shape) with this key, from disk or computed.

        Of several processes that want the same entry at the same time, one computes it.
        """
        folder = self.folder / _name(key)
        found = self._read(folder / FILE, key)
        if found is not None:
            return found
        made = not self.folder.exists()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(folder, wait=True))
            except RunError as error:
                self.note(f"going on without the cache: {error.what}")
                return compute()
            found = self._read(folder / FILE, key)
            if found is not None:
                return found
            try:
                return self._computed(folder, key, compute)
            finally:
                if not (folder / FILE).exists():
                    _remove(folder)
                    if made:
                        _remove_empty(self.folder)

    def _computed(self, folder: Path, key: dict[str, Any], compute: Callable[[], Tensor]) -> Tensor:
        _remove_temporary(folder)  # of a process that was killed while writing
        began = time.perf_counter()
        value = compute()
        took_s = time.perf_counter() - began
        if took_s >= max(self.least_s, value.nbytes / READING_BYTES_PER_S):
            self._write(folder / FILE, key, value)
        return value

    def _read(self, path: Path, key: dict[str, Any]) -> Tensor | None:
        """Return a stored tensor, mapped from the file, or None."""
        if not path.exists():
            return None
        try:
            value = _checked(path, key)
            with contextlib.suppress(OSError):  # a cache that is shared read-only
                os.utime(path)
        except Exception as error:  # a damaged file makes its reader raise whatever it stumbles on
            self.note(f"{path} is damaged ({error}); computing it again")
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return value

    def _write(self, path: Path, key: dict[str, Any], value: Tensor) -> None:
        from fewtune.training.tensor_files import crc32, write_tensors

        prune(self.folder, keep_bytes=self.limit_bytes - value.nbytes)
        try:
            free_bytes = shutil.disk_usage(self.folder).free
            if value.nbytes > self.limit_bytes or value.nbytes + SPARE_BYTES > free_bytes:
                return
            meta = json.dumps({"about": key, "crc32": crc32(value)})
            write_tensors(path, {"x": value}, {"fewtune": meta})
        except (RunError, OSError) as error:
            self.note(f"going on without the cache: {error}")


def _checked(path: Path, key: dict[str, Any]) -> Tensor:
    """Return the tensor in a file."""
    from safetensors import safe_open

    from fewtune.training.tensor_files import crc32

    with safe_open(path, "pt") as file:
        meta = load_json(file.metadata()["fewtune"])
        value: Tensor = file.get_tensor("x")
    if digest(meta["about"]) != digest(key):
        raise ValueError("it is of other images")
    if meta["crc32"] != crc32(value):
        raise ValueError("its checksum differs")
    return value


def entries(folder: Path) -> list[CacheFile]:
    """Return what a cache holds, least recently used first."""
    found = []
    for place in _places(folder):
        with contextlib.suppress(OSError):  # another process has just removed it
            info = (place / FILE).stat()
            about = _about(place / FILE)
            if about is not None and (not about or _name(about) == place.name):
                found.append(CacheFile(place, about, info.st_size, info.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.folder.name))


def _name(about: dict[str, Any]) -> str:
    """Return the name of an entry's folder."""
    return digest(about)[:32]


def _places(folder: Path) -> list[Path]:
    """Return the folders that are named as entries and hold no file that the cache does not write.

    Raises nothing for a folder that is missing or cannot be read: it holds no entries.
    """
    found = []
    for place in folder.glob("*"):
        with contextlib.suppress(OSError):
            named = _ENTRY.fullmatch(place.name) and not place.is_symlink()
            if named and all(map(_is_own, os.listdir(place))):
                found.append(place)
    return found


def _is_own(name: str) -> bool:
    return name in (FILE, LOCK) or _TEMPORARY.fullmatch(name) is not None


def _about(path: Path) -> dict[str, Any] | None:
    """Return what an entry says of its contents: {} if it is damaged, None if it is no entry."""
    from safetensors import safe_open

    try:
        with safe_open(path, "np") as file:
            meta = file.metadata() or {}
    except FileNotFoundError:
        return None
    except Exception:  # damaged
        return {}
    try:
        about: dict[str, Any] = load_json(meta["fewtune"])["about"]
    except (KeyError, TypeError, ValueError):
        return None
    return about


def prune(
    folder: Path, *, keep_bytes: float = float("inf"), unused_s: float = float("inf")
) -> list[CacheFile]:
    """Remove entries, least recently used first, and return those that are gone.

    Args:
        folder: The cache; whatever else lies there is not touched.
        keep_bytes: Size of all entries that may stay.
        unused_s: Entries that were not used for longer go in any case.
    """
    now, gone = time.time(), []
    _remove_abandoned(folder, now)
    found = entries(folder)
    total = sum(entry.size_bytes for entry in found)
    for entry in found:
        if total > keep_bytes or now - entry.used > unused_s:
            _remove(entry.folder)
            if not (entry.folder / FILE).exists():
                gone.append(entry)
                total -= entry.size_bytes
    return gone


def _remove_abandoned(folder: Path, now: float) -> None:
    """Remove what processes left that were killed before they had written their entry."""
    for place in _places(folder):
        with contextlib.suppress(OSError, RunError):  # removed, or in the hands of a process
            old = now - place.stat().st_mtime > ABANDONED_S
            if old and (place / LOCK).exists() and not (place / FILE).exists():
                with locked(place, wait=False):
                    _remove(place)


def _remove(place: Path) -> None:
    """Remove the files of an entry, and its folder if it held nothing else."""
    with contextlib.suppress(OSError):
        (place / FILE).unlink(missing_ok=True)
        _remove_temporary(place)
        (place / LOCK).unlink(missing_ok=True)
    _remove_empty(place)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _remove_temporary(place: Path) -> None:
    for left in place.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(left.name):
            left.unlink(missing_ok=True)
