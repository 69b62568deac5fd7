"""A sweep from its source to its runs: planned, made, and measured on the other tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError
from fewtune.sweeps.case_jobs import CaseJobs
from fewtune.sweeps.place import SweepPlace
from fewtune.sweeps.retention import measure_all
from fewtune.sweeps.runner import CaseSource, Outcome
from fewtune.sweeps.scheduler import Progress, Rounds, execute
from fewtune.training.prepare import Preparation
from fewtune.training.tracking import Tracker


def _silent(text: str) -> None:
    """Say nothing."""


@dataclass
class Sweep:
    """A sweep that is planned.

    Attributes:
        rounds: The cases that are known so far, and their runs.
        progress: What is done.
        failed: The last failure of each run.
    """

    source: CaseSource
    jobs: CaseJobs
    place: SweepPlace
    rounds: Rounds
    progress: Progress
    failed: dict[Path, Outcome] = field(default_factory=dict)

    @classmethod
    def plan(
        cls,
        source: CaseSource,
        place: SweepPlace,
        shared: Mapping[str, Any],
        *,
        where: str = "",
        preparation: Preparation | None = None,
    ) -> Sweep:
        """Return the sweep of a source, its images opened and checked.

        Args:
            shared: Values of every run, by field of `RunConfig`; they count more than a case's.
            where: What names the cases, for messages.
            preparation: Opens images.

        Raises:
            ConfigError: A run asks for what does not exist.
        """
        jobs = CaseJobs(where, {**shared, "runs": place.folder}, preparation)
        rounds = Rounds(source, jobs, place.folder)
        progress = Progress(place.fetch(rounds.advance()), place.at_once())
        return cls(source, jobs, place, rounds, progress)

    def make(
        self,
        ended: Callable[[Outcome], None],
        tracker: Tracker | None = None,
        note: Callable[[str], None] = _silent,
    ) -> None:
        """Make the runs that are not complete; a failure does not stop the others.

        Args:
            ended: Called after each run.
            tracker: Follows runs in this process.
            note: Told what happens on Ray.

        Raises:
            DataError: There is no run whose data are here.
            KeyboardInterrupt: Ctrl-C; complete runs and checkpoints stay.
        """
        if not self.progress.every:
            raise DataError(next(iter(self.rounds.missing.values()), "The sweep names no run."))

        def count(outcome: Outcome) -> None:
            if outcome.error:
                self.failed[outcome.entry.folder] = outcome
            else:
                self.failed.pop(outcome.entry.folder, None)
            ended(outcome)

        with self.place.runner(tracker or Tracker(), note) as runner:
            execute(self.rounds, self.progress, runner, count)

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
        failed = [outcome.error for outcome in self.failed.values()]
        return list(dict.fromkeys([*failed, *self.rounds.missing.values(), *self.undecided()]))

    def undecided(self) -> list[str]:
        """Return why searches have chosen nothing, a line for each."""
        return [f"{case.label()}: {why}" for case, why in self.rounds.undecided if why]

    @property
    def complete(self) -> bool:
        """Whether every run that was asked for is made."""
        return not (self.failed or self.rounds.missing or self.undecided())
