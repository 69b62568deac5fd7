"""From the cases of a source to runs, round after round, and what is done of them.

A source is asked for cases, the runs of which are made; then it is asked again with the scores,
until it names no new case. Nothing is kept but run folders, so a sweep continues where it stopped.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from fewtune.core.errors import DataError
from fewtune.core.files import write_json, write_sealed
from fewtune.core.protocol import Case, Score, Target
from fewtune.core.spec import Spec
from fewtune.core.task import Task
from fewtune.sweeps.runner import (
    FAILURE,
    CaseSource,
    Deciding,
    Outcome,
    Runner,
    Status,
    SweepRun,
    distinct,
    failure_of,
    run_of,
)
from fewtune.sweeps.transfer_scores import read_scores
from fewtune.training.job import Job
from fewtune.training.run_folder import sound_record


@dataclass(frozen=True)
class PreparedCase:
    """A case with its data opened.

    Attributes:
        missing: Why those that are not in `targets` cannot be opened.
    """

    job: Job
    targets: Mapping[Target, Task]
    missing: tuple[str, ...] = ()


# Raises DataError if the data of the case itself are not here.
Prepare = Callable[[Case], PreparedCase]


class Scheduler:
    """The cases that a source has named so far, and the run of each.

    Args:
        folder: For what is said of cases that have no run.

    Attributes:
        runs: Run of each case, by the case's key.
        missing: Why a case has no run, by the case's key.
        undecided: What awaits a search, without its values, and why it fails, if it does.
        failed: Why a run has failed, by its folder.
    """

    def __init__(self, source: CaseSource, prepare: Prepare, folder: Path) -> None:
        self.source = source
        self.folder = folder
        self.cases: dict[str, Case] = {}
        self.runs: dict[str, SweepRun] = {}
        self.missing: dict[str, str] = {}
        self.undecided: tuple[tuple[Case, str], ...] = ()
        self.tasks: dict[Target, str] = {}
        self._prepare = prepare
        self.failed: dict[Path, str] = {}

    def advance(self) -> tuple[SweepRun, ...]:
        """Ask the source again and return the runs of the cases that are new.

        Runs that are complete already give scores at once, so several rounds may pass.

        Raises:
            ConfigError: A case asks for what does not exist; no run has been made then.
        """
        fresh: list[SweepRun] = []
        while new := [
            case for case in self.source.cases(self.scores()) if case.key() not in self.cases
        ]:
            for case in new:
                fresh += self._plan(case)
        if isinstance(self.source, Deciding):
            self.undecided = self.source.failures(self.scores())
        return distinct(fresh)

    def scores(self) -> list[Score]:
        """Return the scores of complete runs, on their own target and on others.

        Runs that failed since the sweep began, and those without data, have their error instead.
        """
        return [score for key, case in self.cases.items() for score in self._of(key, case)]

    def remaining(self) -> int:
        """Return how many more cases will follow when those that are known have their scores.

        What follows may differ with the scores; how much, hardly: all are taken to be equal.
        """
        known, scored = dict(self.cases), self.scores()
        done = {score.case.key() for score in scored}
        while True:
            guessed = [
                Score(case=case, target=target, top1=0.5)
                for key, case in known.items()
                if key not in done
                for target in (case.own, *case.elsewhere)
            ]
            cases = {case.key(): case for case in self.source.cases([*scored, *guessed])}
            if cases.keys() <= known.keys():
                return len(known) - len(self.cases)
            known |= cases

    def _plan(self, case: Case) -> list[SweepRun]:
        key = case.key()
        self.cases[key] = case
        try:
            ready = self._prepare(case)
        except DataError as error:
            self.missing[key] = str(error)
            return []
        self.tasks |= {target: task.name for target, task in ready.targets.items()}
        self.runs[key] = run_of(ready.job, tuple(ready.targets.values()), ready.missing)
        return [self.runs[key]]

    def store_missing(self) -> None:
        """Write a failure for each case that cannot be made, and remove those of old.

        Its data are not here, or what decides its values has failed.
        """
        known = [(case, self.missing.get(key, "")) for key, case in self.cases.items()]
        for case, why in (*known, *self.undecided):
            place = self.folder / case.name()
            if why:
                about = {"case": case.model_dump(mode="json", exclude_defaults=True)}
                write_json(place / FAILURE, {**about, **failure_of(DataError(why))})
            elif place.is_dir() and not (place / "spec.json").exists():
                shutil.rmtree(place, ignore_errors=True)

    def store_searches(self) -> None:
        """Write what chose a run's values into its record, where it was made before the search."""
        for key, run in self.runs.items():
            search, record = self.cases[key].chosen_by, sound_record(run.folder)
            if search and record and record.get("search") != search:
                write_sealed(run.folder / "record.json", {**record, "search": search})

    def _of(self, key: str, case: Case) -> Iterator[Score]:
        run = self.runs.get(key)
        if run is None:
            yield Score(case=case, target=case.own, top1=None, error=self.missing[key])
        else:
            error = self.failed.get(run.folder, "")
            yield from scores_of(case, run.folder, self.tasks, error)


def scores_of(
    case: Case, folder: Path, tasks: Mapping[Target, str], error: str = ""
) -> Iterator[Score]:
    """Yield the scores of a case's run, on its own target and on others.

    Args:
        tasks: Name of the task behind each target.
    """
    record = sound_record(folder)
    if record is None:
        if error:
            yield Score(case=case, target=case.own, top1=None, error=error)
        return
    yield Score.of(case, record)
    found = read_scores(folder) if case.elsewhere else {}
    for target in case.elsewhere:
        top1 = found.get(tasks.get(target, ""), {}).get("top1")
        if top1 is not None:
            yield Score(case=case, target=target, top1=top1)


@dataclass(frozen=True)
class Pace:
    """How long the evaluation of a run took, and each step of it; None where it trained nothing."""

    spec: Spec
    evaluation_s: float
    step_s: float | None


class Progress:
    """What is done and how long the rest may take; reads each record once."""

    def __init__(self, every: Sequence[SweepRun] = (), at_once: int = 1) -> None:
        self.every: tuple[SweepRun, ...] = ()
        self.at_once = at_once
        self.status: dict[Path, Status] = {}
        self._paces: list[Pace] = []
        self.extend(every)

    def extend(self, more: Sequence[SweepRun]) -> tuple[SweepRun, ...]:
        """Take in the runs of another round and return those that are not complete."""
        new = [run for run in more if run.folder not in self.status]
        self.every += tuple(new)
        for run in new:
            self.status[run.folder] = run.status()
            if self.status[run.folder] == "done":
                self._learn(run, run.record())
        return tuple(run for run in new if self.status[run.folder] != "done")

    def add(self, outcome: Outcome) -> None:
        """Count a run that has ended, or is being made by another process."""
        run = outcome.run
        self.status[run.folder] = (
            "busy" if outcome.busy else "failed" if outcome.error else run.status()
        )
        if outcome.record is not None:
            self._learn(run, outcome.record)

    def left(self) -> tuple[SweepRun, ...]:
        """Return the runs that are not complete."""
        return tuple(run for run in self.every if self.status[run.folder] != "done")

    def remaining_s(self) -> float | None:
        """Return how long the runs that are left may take; None before that can be said."""
        total, paces = 0.0, dict[tuple[str, str, bool], tuple[float, float] | None]()
        for run in self.left():
            steps = run.steps()
            like = (run.spec.strategy, run.spec.task, steps > 0)
            if like not in paces:  # all complete runs are looked through: once for those alike
                paces[like] = self._pace(*like)
            pace = paces[like]
            if pace is None:
                return None
            total += pace[0] + steps * pace[1]
        return total / self.at_once

    def seconds(self, strategy: str, steps: int) -> float | None:
        """Return how long a run of a task that is not here may take; None as for `remaining_s`."""
        pace = self._pace(strategy, "", steps > 0)
        return None if pace is None else pace[0] + steps * pace[1]

    def _pace(self, strategy: str, task: str, trains: bool) -> tuple[float, float] | None:
        """Return how long a run's evaluation and each of its steps may take.

        Both are means of the strategy's runs on the task, else of the strategy's, else of all.
        None before a run like it is complete: one with steps if it has.
        """
        seen = [pace for pace in self._paces if pace.step_s is not None or not trains]
        same = [pace for pace in seen if pace.spec.strategy == strategy]
        nearest = [pace for pace in same if pace.spec.task == task] or same or seen
        if not nearest:
            return None
        step_s = mean(pace.step_s or 0.0 for pace in nearest)
        return mean(pace.evaluation_s for pace in nearest), step_s

    def _learn(self, run: SweepRun, record: dict[str, Any]) -> None:
        steps, training_s = record["cost"]["steps"], record["cost"]["training_s"]
        evaluation_s = record["cost"]["total_s"] - training_s
        step_s = training_s / steps if steps else None
        self._paces.append(Pace(run.spec, evaluation_s, step_s))


def execute(
    scheduler: Scheduler, progress: Progress, runner: Runner, finished: Callable[[Outcome], None]
) -> None:
    """Make all runs that are not complete; a failure is stored and does not stop the others.

    Args:
        progress: Has the runs that `scheduler` has named so far.
        finished: Called after each run, when `progress` has counted it.

    Raises:
        KeyboardInterrupt: Ctrl-C; complete runs and checkpoints stay.
        ConfigError: A later round asks for what does not exist.
    """
    scheduler.store_missing()
    scheduler.store_searches()
    wanted = progress.left()
    while wanted:
        for outcome in runner(wanted):
            scheduler.failed.pop(outcome.run.folder, None)
            if outcome.error:
                scheduler.failed[outcome.run.folder] = outcome.error
            progress.add(outcome)
            finished(outcome)
        wanted = progress.extend(scheduler.advance())
        scheduler.store_missing()
        scheduler.store_searches()
