"""Place of a sweep: where its runs are made and where they are kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from fewtune.core.errors import ConfigError
from fewtune.core.fields import Flag, Frozen
from fewtune.core.naming import dashed

if TYPE_CHECKING:
    from fewtune.sweeps.runner import Runner, SweepRun
    from fewtune.sweeps.shared_store import SharedStore
    from fewtune.training.tracking import Tracker

RAY = "ray"
SECTION = "Where"
OF_RAY = ("address", "workers", "cpus_per_run", "gpus_per_run")


class SweepPlace(Frozen):
    """Where runs are made, how many at a time, and where they are kept."""

    runs: Annotated[str, Flag(metavar="DIR|URL", section=SECTION), BeforeValidator(str)] = Field(
        "runs", description="folder for runs, or a URL such as s3://bucket/study"
    )
    on: Annotated[Literal["here", "ray"], Flag(section=SECTION)] = Field(
        "here", description="make runs one after the other here, or several at a time on Ray"
    )
    address: Annotated[str, Flag("", "HOST:PORT|auto", "start Ray on this machine", SECTION)] = (
        Field("", description="an existing Ray cluster")
    )
    workers: Annotated[int | None, Flag(shown="as many as the CPUs allow", section=SECTION)] = (
        Field(None, ge=1, description="runs at a time on Ray")
    )
    cpus_per_run: Annotated[int | None, Flag(shown="1", section=SECTION)] = Field(
        None, ge=1, description="CPUs for each run on Ray"
    )
    gpus_per_run: Annotated[float | None, Flag(shown="1 where there are any", section=SECTION)] = (
        Field(None, ge=0, description="GPUs for each run on Ray; with 0.5, two runs share one")
    )
    batched: bool = Field(
        False,
        description="train runs that differ only in seed and rate in one program, where possible",
    )

    def model_post_init(self, context: Any) -> None:
        """Refuse values that do not go together, before anything is opened."""
        given = [name for name in OF_RAY if getattr(self, name) not in (None, "")]
        if given and self.on != RAY:
            raise ConfigError(f"--{dashed(given[0])} is for runs on Ray.", hint="Add --on ray.")
        if self.on == RAY and self.batched:
            raise ConfigError(
                "--batched makes many runs in one process, and --on ray each in its own.",
                hint="Leave one of them out.",
            )
        gpus = self.gpus_per_run
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ConfigError(
                f"--gpus-per-run {gpus:g} is neither a part of a GPU nor a whole number.",
                hint="Use 0.5 for two runs on each GPU, or 2 for two GPUs a run.",
            )
        if self.on == RAY and find_spec("ray") is None:
            raise ConfigError("Ray is not installed.", hint='Try: pip install "fewtune[ray]"')

    @property
    def cpus(self) -> int:
        """CPUs of a run on Ray."""
        return self.cpus_per_run or 1

    @cached_property
    def store(self) -> SharedStore | None:
        """The URL where runs are kept; None for a folder."""
        from fewtune.sweeps.shared_store import SharedStore, is_url

        return SharedStore(self.runs) if is_url(self.runs) else None

    @property
    def folder(self) -> Path:
        """The folder of run folders, or that of copies of what is at the URL."""
        from fewtune.sweeps.shared_store import is_url, mirror

        return mirror(self.runs) if is_url(self.runs) else Path(self.runs)

    def fetch(self, runs: Sequence[SweepRun]) -> tuple[SweepRun, ...]:
        """Copy what is complete at the URL to this machine and return the same runs."""
        from fewtune.sweeps.shared_store import fetch

        if self.store:
            fetch(self.store, runs)
        return tuple(runs)

    def keep(self, runs: Sequence[SweepRun]) -> None:
        """Copy what was measured of complete runs on this machine to the URL."""
        for run in runs if self.store else ():
            assert self.store
            if run.status() == "done":
                self.store.push(run.folder)

    def at_once(self) -> int:
        """Return how many runs are made at a time; 1 where only a cluster knows."""
        if self.on != RAY or (self.address and not self.workers):
            return 1
        return self.runs_here()

    def runs_here(self) -> int:
        """Return how many runs Ray makes at a time on this machine."""
        try:
            cores = len(os.sched_getaffinity(0))
        except AttributeError:  # on macOS and Windows
            cores = os.cpu_count() or 1
        return self.workers or max(1, cores // self.cpus)

    @contextmanager
    def runner(self, tracker: Tracker, note: Callable[[str], None]) -> Iterator[Runner]:
        """Yield who makes the runs; at the end, what is still running is interrupted."""
        from fewtune.sweeps.runner import in_process
        from fewtune.sweeps.shared_store import stored

        if self.on == RAY:
            from fewtune.sweeps.ray.cluster import RayRunner

            with closing(RayRunner(self, note)) as runner:
                yield stored(runner, self.store, by_workers=True) if self.store else runner
            return
        here = in_process(tracker, batched=self.batched)
        yield stored(here, self.store, by_workers=False) if self.store else here
