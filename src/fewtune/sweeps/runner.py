"""Many runs: which are done, what became of each, and who makes those that are not.

A run is a folder that is named by its spec, so a sweep keeps no state of its own: what has a
record is done, and the same sweep can be stopped and continued at any time.

    source -> cases -> jobs -> runs -> runner -> outcomes -> scores -> source ...

A source names the cases that are needed as far as scores are known (`sweeps.scheduler`), a
runner makes runs in whatever order and place and yields what became of each.
"""

import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from fewtune.core.errors import DataError, FewTuneError
from fewtune.core.files import write_json
from fewtune.core.lock import BusyError
from fewtune.core.protocol import Case, Score
from fewtune.core.spec import Spec
from fewtune.core.task import Task
from fewtune.model.load_strategy import zero_shot_of
from fewtune.sweeps.transfer_scores import unmeasured
from fewtune.training.job import Job
from fewtune.training.run_folder import RunFolder, sound_record
from fewtune.training.tracking import Tracker

FAILURE = "failure.json"
POLL_S = 2.0

Status = Literal["done", "failed", "busy", "open"]


class CaseSource(Protocol):
    """What says which runs a sweep needs: a grid, a benchmark protocol, a search."""

    def cases(self, scores: Iterable[Score]) -> tuple[Case, ...]:
        """Return the cases that are needed as far as these scores tell, each once.

        Equal scores give equal cases. It is asked again after every round, until it names no new
        one.
        """


@runtime_checkable
class Deciding(CaseSource, Protocol):
    """A source that searches: trials decide what other runs are."""

    def failures(self, scores: Iterable[Score]) -> tuple[tuple[Case, str], ...]:
        """Return what awaits a search, without its values, and why it fails; "" if it does not."""


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        missing: Why it cannot be scored on other targets: their data are not here.
    """

    job: Job
    spec: Spec
    elsewhere: tuple[Task, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.job.config.runs / self.spec.folder()

    @property
    def baseline(self) -> Path:
        """The folder of the zero-shot run that it is compared with."""
        return self.job.config.runs / zero_shot_of(self.spec).folder()

    def status(self) -> Status:
        """Return whether the run is complete, has failed, or is still to be made."""
        if RunFolder(self.folder).complete():
            if sound_record(self.folder) is None:
                return "failed"
            left = self.missing or unmeasured(self.folder, self.elsewhere)
            return "open" if left else "done"
        return "failed" if (self.folder / FAILURE).exists() else "open"

    def record(self) -> dict[str, Any]:
        """Return the record of a complete run."""
        return RunFolder(self.folder).record()

    def steps(self) -> int:
        """Return the steps that training takes, at least 1 for a run that trains nothing."""
        recipe = self.job.resolved_recipe()
        if recipe is None:
            return 1
        classes = len(self.job.task.classes)
        images = min(len(self.job.task.train), (self.job.config.shots or 10**9) * classes)
        return recipe.total_steps(images, self.job.config.shots or 1, self.job.config.steps_scale)


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        record: Its record; None if it failed, or is being made by another process.
        error: Why it failed, or could not be scored elsewhere; "" otherwise.
        busy: Whether another process is making it; another outcome follows when that has ended.
    """

    run: SweepRun
    record: dict[str, Any] | None
    error: str
    seconds: float
    busy: bool = False


Runner = Callable[[Sequence[SweepRun]], Iterator[Outcome]]


def distinct(wanted: Iterable[SweepRun]) -> tuple[SweepRun, ...]:
    """Return each run once, those that share data and backbone side by side."""
    found: dict[Path, SweepRun] = {}
    for run in wanted:
        twin = found.get(run.folder)
        if twin is not None:
            both = dict.fromkeys((*twin.elsewhere, *run.elsewhere))
            missing = dict.fromkeys((*twin.missing, *run.missing))
            run = replace(twin, elsewhere=tuple(both), missing=tuple(missing))
        found[run.folder] = run
    tasks = list(dict.fromkeys(run.spec.task for run in found.values()))

    def place(run: SweepRun) -> tuple[str, int]:
        return run.spec.backbone, tasks.index(run.spec.task)

    return tuple(sorted(found.values(), key=place))


def run_of(job: Job, targets: Sequence[Task] = (), missing: Sequence[str] = ()) -> SweepRun:
    """Return the run that a job names; ConfigError if its backbone cannot be loaded."""
    return SweepRun(job, job.known_spec(), tuple(targets), tuple(missing))


def in_process(tracker: Tracker, *, batched: bool = False, poll_s: float = POLL_S) -> Runner:
    """Return the runner that makes runs one after the other in this process.

    A run that another process is making is tried again when the others are done.

    Args:
        batched: Train runs that differ in seeds and rates alone in one program, where the strategy
            works on finished features.
    """

    def runner(wanted: Sequence[SweepRun]) -> Iterator[Outcome]:
        groups = _alike(wanted) if batched else [[run] for run in wanted]
        busy: list[SweepRun] = []
        for group in groups:
            for outcome in _make(group, tracker):
                busy += [outcome.run] if outcome.busy else []
                yield outcome
        while busy:
            time.sleep(poll_s)
            outcomes = [attempt(run, tracker) for run in busy]
            busy = [outcome.run for outcome in outcomes if outcome.busy]
            yield from (outcome for outcome in outcomes if not outcome.busy)

    return runner


def _alike(wanted: Sequence[SweepRun]) -> list[list[SweepRun]]:
    from fewtune.training.vmapped.vmapped_runs import stack_key

    groups: dict[str, list[SweepRun]] = defaultdict(list)
    for run in wanted:
        groups[stack_key(run.job)].append(run)
    return list(groups.values())


def _make(group: Sequence[SweepRun], tracker: Tracker) -> Iterator[Outcome]:
    """Yield the outcome of each run of a group that may be trained at once."""
    from fewtune.training.vmapped.vmapped_runs import run_vmapped

    each_s = 0.0
    if len(group) > 1:
        started = time.perf_counter()
        try:
            run_vmapped([run.job for run in group], tracker)
        except Exception as error:  # whose it is shows when each is tried for itself
            tracker.status(f"{error}: {len(group)} runs one by one")
        each_s = (time.perf_counter() - started) / len(group)
    for run in group:
        outcome = attempt(run, tracker)
        yield replace(outcome, seconds=outcome.seconds + each_s)


def attempt(run: SweepRun, tracker: Tracker) -> Outcome:
    """Make one run and score it elsewhere; what goes wrong is written to its folder and returned.

    What is complete is not made again.
    """
    from fewtune.sweeps import transfer
    from fewtune.training.run import run as make_run

    started = time.perf_counter()

    def ended(record: dict[str, Any] | None, error: str = "", *, busy: bool = False) -> Outcome:
        return Outcome(run, record, error, time.perf_counter() - started, busy)

    try:
        if not RunFolder(run.folder).complete():
            make_run(run.job, tracker)
        transfer.measure(run.job, run.folder, run.elsewhere, tracker)
        record = run.record()
    except BusyError:
        return ended(None, busy=True)
    except Exception as error:  # whatever it is, the other runs go on
        return ended(None, _stored(run, error))
    if run.missing:
        return ended(record, _stored(run, DataError(" ".join(run.missing))))
    (run.folder / FAILURE).unlink(missing_ok=True)
    return ended(record)


def _stored(run: SweepRun, error: Exception) -> str:
    """Write an error into a run's folder and return it as one line."""
    failure = failure_of(error)
    write_json(run.folder / FAILURE, {"spec": run.spec.model_dump(mode="json"), **failure})
    return failure["error"]


def failure_of(error: Exception) -> dict[str, str]:
    """Return what failure.json says of an error: one line, and where an unexpected one arose."""
    known = isinstance(error, FewTuneError)
    return {
        "error": str(error) if known else f"{type(error).__name__}: {error}",
        "traceback": "" if known else "".join(traceback.format_exception(error)),
    }
