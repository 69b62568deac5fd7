"""A sweep from its source to its runs: planned, made, and measured on the other tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError
from fewtune.sweeps.case_jobs import CaseJobs
from fewtune.sweeps.place import SweepPlace
from fewtune.sweeps.retention import measure_all
from fewtune.sweeps.runner import CaseSource, Outcome
from fewtune.sweeps.scheduler import Progress, Scheduler, execute
from fewtune.sweeps.sources import SweepFile
from fewtune.training.prepare import Preparation
from fewtune.training.tracking import Tracker


@dataclass
class Sweep:
    """A sweep that is planned."""

    source: CaseSource
    jobs: CaseJobs
    place: SweepPlace
    scheduler: Scheduler
    progress: Progress

    @classmethod
    def plan(
        cls,
        file: SweepFile,
        chosen: Mapping[str, Any],
        shared: Mapping[str, Any],
        place: SweepPlace,
        preparation: Preparation,
    ) -> Sweep:
        """Return the sweep of a file, its images opened and checked.

        Args:
            chosen: As of `SweepFile.source`.
            shared: Values of every run, by field of `RunConfig`; they count more than a case's.

        Raises:
            ConfigError: A run asks for what does not exist.
        """
        every = {**file.shared(), **shared, "runs": place.folder}
        source, jobs = file.source(chosen), CaseJobs(file.where, every, preparation)
        scheduler = Scheduler(source, jobs, place.folder)
        progress = Progress(place.fetch(scheduler.advance()), place.at_once())
        return cls(source, jobs, place, scheduler, progress)

    def make(
        self,
        tracker: Tracker | None = None,
        ended: Callable[[Outcome], None] = lambda outcome: None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Make the runs that are not complete; a failure does not stop the others.

        Raises:
            DataError: There is no run whose data are here.
            KeyboardInterrupt: Ctrl-C; complete runs and checkpoints stay.
        """
        if not self.progress.every:
            raise DataError(next(iter(self.scheduler.missing.values()), "The sweep names no run."))
        with self.place.runner(tracker or Tracker(), note) as runner:
            execute(self.scheduler, self.progress, runner, ended)

    def measure_retention(self) -> None:
        """Measure each complete run on the other tasks: what tuning on one costs on these."""
        measure_all(self.progress.every)
        self.place.keep(self.progress.every)

    def complete_folders(self) -> tuple[Path, ...]:
        """Return the folders of the runs that are complete."""
        status = self.progress.status
        return tuple(e.folder for e in self.progress.every if status[e.folder] == "done")

    def failures(self) -> list[str]:
        """Return why runs failed or could not be made, once for those that failed alike."""
        failed = self.scheduler.failed.values()
        return list(dict.fromkeys([*failed, *self.scheduler.missing.values(), *self.undecided()]))

    def undecided(self) -> list[str]:
        """Return why searches have chosen nothing, a line for each."""
        return [f"{case.label()}: {why}" for case, why in self.scheduler.undecided if why]

    @property
    def complete(self) -> bool:
        """Whether every run that was asked for is made."""
        return not (self.scheduler.failed or self.scheduler.missing or self.undecided())
