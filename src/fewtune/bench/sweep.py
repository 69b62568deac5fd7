"""Many runs: which are done, how long the others take, and running them one after the other.

A run is a folder that is named by its spec, so a sweep keeps no state of its own: what has a
record is done, and the same sweep can be stopped and continued at any time.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from fewtune.backbones.checkpoint import describe
from fewtune.core.discovery import zero_shot_of
from fewtune.core.errors import ConfigError, FewTuneError
from fewtune.core.files import read_json, write_json
from fewtune.core.lock import BusyError
from fewtune.core.spec import Precision, Spec
from fewtune.engine.device import choose_device, choose_precision
from fewtune.engine.job import Job
from fewtune.engine.record import RunFolder
from fewtune.engine.run import run
from fewtune.engine.tracking import Tracker

FAILURE = "failure.json"

Status = Literal["done", "failed", "open"]


@dataclass(frozen=True)
class Entry:
    """One run of a sweep."""

    job: Job
    spec: Spec

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.job.runs / self.spec.folder()

    @property
    def baseline(self) -> Path:
        """The folder of the zero-shot run that it is compared with."""
        return self.job.runs / zero_shot_of(self.spec).folder()

    def status(self) -> Status:
        """Return whether the run is complete, has failed, or is still to be made."""
        if RunFolder(self.folder).complete():
            return "done"
        return "failed" if (self.folder / FAILURE).exists() else "open"

    def steps(self) -> int:
        """Return the steps that training takes, at least 1 for a run that trains nothing."""
        recipe = self.job.resolved_recipe()
        if recipe is None:
            return 1
        classes = len(self.job.task.classes)
        images = min(len(self.job.task.train), (self.job.shots or 10**9) * classes)
        return recipe.total_steps(images, self.job.shots or 1, self.job.steps_scale)


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        record: Its record; None if it failed, or is being made by another process.
        error: Why it failed; "" otherwise.
        seconds: How long it took here.
    """

    entry: Entry
    record: dict[str, Any] | None
    error: str
    seconds: float


def entries(jobs: Iterable[Job]) -> tuple[Entry, ...]:
    """Return the distinct runs of these jobs, those that share data and backbone side by side.

    Raises:
        ConfigError: A backbone cannot be loaded.
    """
    revisions: dict[str, tuple[str, str]] = {}
    found: dict[Path, Entry] = {}
    for job in jobs:
        if job.backbone not in revisions:
            facts = describe(job.backbone)
            if facts.revision is None:
                raise ConfigError(f"Backbone {facts.name} cannot be loaded: {facts.status}")
            revisions[job.backbone] = facts.revision, facts.name
        precision: Precision = job.precision or choose_precision(choose_device(job.device))
        entry = Entry(job, job.spec(*revisions[job.backbone], precision))
        found.setdefault(entry.folder, entry)
    tasks = list(dict.fromkeys(entry.spec.task for entry in found.values()))

    def place(entry: Entry) -> tuple[str, int]:
        return entry.spec.backbone, tasks.index(entry.spec.task)

    return tuple(sorted(found.values(), key=place))


class Progress:
    """What is done and how long the rest may take; reads each record once."""

    def __init__(self, every: Sequence[Entry]) -> None:
        self.every = every
        self.status = {entry.folder: entry.status() for entry in every}
        self._rates: list[tuple[Spec, float]] = []
        for entry in every:
            if self.status[entry.folder] == "done":
                self._learn(entry, read_json(entry.folder / "record.json"))

    def add(self, outcome: Outcome) -> None:
        """Count a run that has ended."""
        self.status[outcome.entry.folder] = outcome.entry.status()
        if outcome.record is not None:
            self._learn(outcome.entry, outcome.record)

    def left(self) -> tuple[Entry, ...]:
        """Return the runs that are not complete."""
        return tuple(entry for entry in self.every if self.status[entry.folder] != "done")

    def remaining_s(self) -> float | None:
        """Return how long the runs that are left may take; None before any is complete.

        A step is taken to last as long as the mean of its strategy's on its task, else of its
        strategy's, else of all.
        """
        if not self._rates:
            return None
        return sum(self._seconds_a_step(entry.spec) * entry.steps() for entry in self.left())

    def _learn(self, entry: Entry, record: dict[str, Any]) -> None:
        cost = record["cost"]
        self._rates.append((entry.spec, cost["total_s"] / max(1, cost["steps"])))

    def _seconds_a_step(self, spec: Spec) -> float:
        same = [pair for pair in self._rates if pair[0].strategy == spec.strategy]
        nearest = [pair for pair in same if pair[0].task == spec.task] or same or self._rates
        return mean(seconds for _, seconds in nearest)


def execute(progress: Progress, tracker: Tracker, finished: Callable[[Outcome], None]) -> None:
    """Make all runs that are not complete; a failure is stored and does not stop the others.

    Args:
        finished: Called after each run, when `progress` has counted it.

    Raises:
        KeyboardInterrupt: Ctrl-C; complete runs and checkpoints stay.
    """
    for entry in progress.left():
        if entry.status() != "done":  # another process may have made it since
            outcome = attempt(entry, tracker)
            progress.add(outcome)
            finished(outcome)


def attempt(entry: Entry, tracker: Tracker) -> Outcome:
    """Make one run; what goes wrong is written to its folder and returned."""
    started = time.perf_counter()
    failure = entry.folder / FAILURE
    try:
        record = run(entry.job, tracker).record
    except BusyError:
        return Outcome(entry, None, "", time.perf_counter() - started)
    except Exception as error:  # whatever it is, the other runs go on
        known = isinstance(error, FewTuneError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        trace = "" if known else "".join(traceback.format_exception(error))
        write_json(
            failure, {"spec": entry.spec.model_dump(mode="json"), "error": text, "traceback": trace}
        )
        return Outcome(entry, None, text, time.perf_counter() - started)
    failure.unlink(missing_ok=True)
    return Outcome(entry, record, "", time.perf_counter() - started)
