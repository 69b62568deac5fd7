"""Run folders in a place that several machines see: a shared folder, or any URL of fsspec.

A run is made in a folder of the machine that computes it and copied when it has ended, its record
last and under another name until all of it has arrived. So whoever sees a record sees a complete
run, and what an upload that was cut off has left is not one.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from fewtune.core.errors import ConfigError, FewTuneError, RunError
from fewtune.core.files import digest, write_atomic
from fewtune.core.paths import cache_dir
from fewtune.sweeps.runner import Outcome, Runner, SweepRun

RECORD = "record.json"
MARK = ".fewtune-sweep"
LATER = frozenset({"elsewhere.json", "retention.json"})  # written when the record is there
LOCAL = frozenset({"checkpoint.safetensors", "failure.json"})  # of a run that has not ended well


def is_url(place: str) -> bool:
    """Whether a place is a URL, and not a folder."""
    return "://" in place


def mirror(place: str) -> Path:
    """Return the local folder that holds copies of the run folders at a URL."""
    name = place.rstrip("/").rpartition("/")[2] or "runs"
    return cache_dir() / "runs" / f"{name}-{digest(place)[:8]}"


class SharedStore:
    """The run folders at one place.

    Args:
        place: A folder, or a URL such as s3://bucket/study.

    Raises:
        ConfigError: No installed package reads such URLs.
        RunError: In all methods: the place cannot be read or written; local folders stay as they
            are.
    """

    def __init__(self, place: str) -> None:
        from fsspec.core import url_to_fs

        self.place = place
        self._fs: Any
        try:
            self._fs, root = url_to_fs(place)
        except ImportError as error:
            raise ConfigError(
                f"{place} cannot be used: {error}.",
                hint=f"Try: pip install {_package(place)}",
            ) from error
        except ValueError as error:
            raise ConfigError(
                f"{place} cannot be used: {error}.",
                hint="Use a folder that all workers see, or a URL such as s3://bucket/study.",
            ) from error
        self._root = str(root).rstrip("/")

    def complete(self) -> set[str]:
        """Return the names of the complete runs."""
        with self._speaking("read"):
            self._fs.invalidate_cache()
            found = self._fs.glob(f"{self._root}/*/{RECORD}")
        return {path.rstrip("/").split("/")[-2] for path in found}

    def holds(self, name: str) -> bool:
        """Whether this run is there, complete."""
        with self._speaking("read"):
            self._fs.invalidate_cache()
            return bool(self._fs.exists(f"{self._root}/{name}/{RECORD}"))

    def push(self, folder: Path) -> None:
        """Copy a complete run there; of one that is there, what was measured of it later."""
        files = sorted(file.name for file in folder.iterdir() if file.is_file())
        there = f"{self._root}/{folder.name}"
        if self.holds(folder.name):
            with self._speaking("write to"):
                for file in LATER.intersection(files):
                    self._fs.put_file(str(folder / file), f"{there}/{file}")
            return
        hidden = f"{there}/.{RECORD}.{uuid4().hex}.tmp"
        with self._speaking("write to"):
            self._fs.makedirs(there, exist_ok=True)
            for file in filter(_travels, files):
                self._fs.put_file(str(folder / file), f"{there}/{file}")
            self._fs.put_file(str(folder / RECORD), hidden)
            self._fs.mv(hidden, f"{there}/{RECORD}")

    def pull(self, name: str, runs: Path) -> None:
        """Copy a complete run from there; of one that is in both, what was measured later."""
        if not self.holds(name):
            return
        known = (runs / name / RECORD).exists()
        with self._speaking("read"):
            found = [path.rpartition("/")[2] for path in self._fs.ls(f"{self._root}/{name}", False)]
        files = LATER.intersection(found) if known else [*filter(_travels, found), RECORD]
        for file in files:
            write_atomic(runs / name / file, functools.partial(self._get, f"{name}/{file}"))

    def mark(self) -> str:
        """Return what names this place, written on the first call; see `check`."""
        with self._speaking("write to"):
            self._fs.makedirs(self._root, exist_ok=True)
            path = f"{self._root}/{MARK}"
            if not self._fs.exists(path):
                self._fs.pipe_file(path, uuid4().hex.encode())
            return bytes(self._fs.cat_file(path)).decode()

    def check(self, mark: str) -> None:
        """Refuse another place than that of `mark`: a folder of that name on another machine."""
        with contextlib.suppress(Exception):
            if bytes(self._fs.cat_file(f"{self._root}/{MARK}")).decode() == mark:
                return
        raise ConfigError(
            f"{self.place} is not the folder of this sweep when seen from here.",
            hint="Use --runs with a folder that all machines share, or a URL.",
        )

    def _get(self, path: str, here: Path) -> None:
        with self._speaking("read"):
            self._fs.get_file(f"{self._root}/{path}", str(here))

    @contextlib.contextmanager
    def _speaking(self, verb: str) -> Iterator[None]:
        """Turn what goes wrong, which every kind of place raises in its own way, into one error."""
        try:
            yield
        except FewTuneError:
            raise
        except Exception as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise RunError(
                f"Cannot {verb} {self.place}: {reason}.",
                hint="Check the address and your rights there; what was made so far is intact.",
            ) from error


def fetch(store: SharedStore, wanted: Sequence[SweepRun]) -> None:
    """Copy those runs that are complete at a place, and their zero-shot runs, to their folders.

    Raises:
        RunError: The place cannot be read, or a folder cannot be written.
    """
    names = store.complete()
    for run in wanted:
        if run.folder.name in names and run.status() != "done":
            for folder in (run.baseline, run.folder):
                store.pull(folder.name, folder.parent)


def stored(runner: Runner, store: SharedStore, *, by_workers: bool) -> Runner:
    """Return the runner that makes only what a place lacks, and leaves each run there and here.

    Args:
        by_workers: The runner has put the runs there, and they are copied here; else the other way.
    """

    def fill(wanted: Sequence[SweepRun]) -> Iterator[Outcome]:
        fetch(store, wanted)
        left = []
        for run in wanted:
            if run.status() == "done":
                yield Outcome(run, run.record(), "", 0.0)
            else:
                left.append(run)
        for outcome in runner(left):
            try:
                if outcome.record is not None:
                    for folder in (outcome.run.baseline, outcome.run.folder):
                        if by_workers:
                            store.pull(folder.name, folder.parent)
                        else:
                            store.push(folder)
            except RunError as error:  # the others go on
                yield replace(outcome, record=None, error=str(error))
            else:
                yield outcome

    return fill


def _travels(name: str) -> bool:
    return not name.startswith(".") and name != RECORD and name not in LOCAL


def _package(place: str) -> str:
    scheme = place.partition("://")[0]
    known = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
    known |= dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs")
    return known.get(scheme, f"what fsspec needs for {scheme}://")
