"""Where the runs of a sweep are made and kept: flags of `fewtune sweep` and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewtune.cli.support.console import Console
from fewtune.cli.support.options import Number, OneOf, Option, flag_of
from fewtune.core.errors import ConfigError

if TYPE_CHECKING:
    from fewtune.sweeps.runner import Runner, SweepRun
    from fewtune.sweeps.shared_store import SharedStore

HERE, RAY = "here", "ray"
SECTION = "Where"
OPTIONS: tuple[Option, ...] = (
    Option(["--runs"], default="runs", shown="runs", section=SECTION, metavar="DIR|URL",
           help="Folder of run folders, or a URL such as s3://bucket/study."),
    Option(["--on"], type=OneOf((HERE, RAY)), default=HERE, shown=HERE, section=SECTION,
           help="Make runs one after the other in this process, or several at a time on Ray."),
    Option(["--address"], default="", section=SECTION, metavar="HOST:PORT|auto",
           shown="Ray is started on this machine", help="A Ray cluster that is there already."),
    Option(["--workers"], type=Number(True, ge=1), section=SECTION,
           shown="as many as there are CPUs for", help="Runs at a time on Ray."),
    Option(["--cpus-per-run"], type=Number(True, ge=1), section=SECTION, shown="1",
           help="CPUs of a run on Ray, and its threads."),
    Option(["--gpus-per-run"], type=Number(False, ge=0), section=SECTION,
           shown="1 where there are any",
           help="GPUs of a run on Ray; 0.5 makes two runs at a time on each."),
)  # fmt: skip
OF_RAY = ("address", "workers", "cpus_per_run", "gpus_per_run")


class Folder(click.Path):
    """A folder of this machine: as a path, a URL would make folders of its parts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            ConfigError: It is a URL.
        """
        if "://" in str(value):
            raise ConfigError(
                f"{flag_of(param)} must be a folder, found {str(value)!r}.",
                hint="fewtune sweep keeps runs at URLs: --runs s3://bucket/study",
            )
        return super().convert(value, param, ctx)


@dataclass(frozen=True)
class RunStore:
    """Where runs are kept.

    Attributes:
        runs: The folder, or that of copies of what is at the URL.
        store: The URL; None for a folder.
    """

    runs: Path
    store: SharedStore | None = None

    def fetch(self, entries: Sequence[SweepRun]) -> tuple[SweepRun, ...]:
        """Copy what is complete at the URL to this machine and return the same runs."""
        from fewtune.sweeps.shared_store import fetch

        if self.store:
            fetch(self.store, entries)
        return tuple(entries)

    def keep(self, entries: Sequence[SweepRun]) -> None:
        """Copy what was measured of complete runs on this machine to the URL."""
        for entry in entries if self.store else ():
            assert self.store
            if entry.status() == "done":
                self.store.push(entry.folder)


def place_of(runs: str) -> RunStore:
    """Return what `--runs` stands for.

    Raises:
        ConfigError: No installed package reads such URLs.
    """
    if "://" not in runs:
        return RunStore(Path(runs))
    from fewtune.sweeps.shared_store import SharedStore, mirror

    return RunStore(mirror(runs), SharedStore(runs))


def check(values: Mapping[str, Any]) -> None:
    """Refuse flags that do not go together, before anything is opened.

    Raises:
        ConfigError: A flag of Ray without it, or one that it cannot follow.
    """
    given = [name for name in OF_RAY if values[name] not in (None, "")]
    if given and values["on"] != RAY:
        flag = given[0].replace("_", "-")
        raise ConfigError(f"--{flag} is for runs on Ray.", hint="Add --on ray.")
    if values["on"] == RAY and values["batched"]:
        raise ConfigError(
            "--batched makes many runs in one process, and --on ray each in its own.",
            hint="Leave one of them out.",
        )
    if values["on"] == RAY:
        from fewtune.sweeps.ray.cluster import require_ray

        require_ray()
        _pool(values)


def at_once(values: Mapping[str, Any]) -> int:
    """Return how many runs are made at a time; 1 where only a cluster knows."""
    if values["on"] != RAY or (values["address"] and not values["workers"]):
        return 1
    count: int = _pool(values).here()
    return count


@contextmanager
def runner_of(values: Mapping[str, Any], place: RunStore, console: Console) -> Iterator[Runner]:
    """Yield who makes the runs; at the end, what is still running is interrupted."""
    from fewtune.sweeps.runner import in_process
    from fewtune.sweeps.shared_store import stored
    from fewtune.training.tracking import Tracker

    if values["on"] == RAY:
        from fewtune.sweeps.ray.cluster import RayRunner

        url = place.store.place if place.store else ""
        with RayRunner(_pool(values), url, console.note) as runner:
            yield stored(runner, place.store, by_workers=True) if place.store else runner
        return
    here = in_process(Tracker(), batched=values["batched"])
    yield stored(here, place.store, by_workers=False) if place.store else here


def _pool(values: Mapping[str, Any]) -> Any:
    from fewtune.sweeps.ray.cluster import Pool

    return Pool(
        values["workers"], values["address"], values["cpus_per_run"] or 1, values["gpus_per_run"]
    )
