"""Runs that wait for a worker: which is next, and which come again."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fewtune.core.errors import RunError
from fewtune.sweeps.ray.worker import Report
from fewtune.sweeps.runner import SweepRun, failure_of

RETRIES = 3  # of a run whose worker was lost
LATER_S = 2.0  # until the next look at a run that another process is making
# Ray's errors that are not of the machines but of what was asked for.
OURS = frozenset(
    {"RayTaskError", "TaskCancelledError", "TaskUnschedulableError", "RuntimeEnvSetupError"}
)


def is_lost(error: BaseException) -> bool:
    """Whether an error says that Ray lost a worker or a machine: then the run is made again."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return "RayError" in names and not names & OURS


class RunQueue:
    """The runs that wait for a worker.

    The first runs of a task share its zero-shot run, which one of them makes while the others wait:
    so runs of other tasks come first, until one of the task has ended.
    """

    def __init__(self, wanted: Sequence[SweepRun]) -> None:
        self._waiting = [(run.spec.zero_shot(0).hash(), run) for run in wanted]
        self._making: Counter[str] = Counter()
        self._made: set[str] = set()
        self._tries: Counter[Path] = Counter()
        self._later: list[tuple[float, str, SweepRun]] = []
        self._reported: set[Path] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._later)

    def take(self, now: float) -> SweepRun | None:
        """Return the next run; None if there is none at present.

        Args:
            now: In seconds, as `ended` is told.
        """
        ripe = [(key, run) for due, key, run in self._later if due <= now]
        self._later = [late for late in self._later if late[0] > now]
        self._waiting += ripe
        if not self._waiting:
            return None
        free = (
            index
            for index, (key, _) in enumerate(self._waiting)
            if key in self._made or not self._making[key]
        )
        key, run = self._waiting.pop(next(free, 0))
        self._making[key] += 1
        return run

    def ended(self, run: SweepRun, report: Report | BaseException, now: float) -> Report | None:
        """Return the report to be passed on; None if the run comes again without a word.

        A run whose worker was lost comes again at once, one that another process is making later.
        """
        key = run.spec.zero_shot(0).hash()
        self._making[key] -= 1
        if isinstance(report, BaseException):
            self._tries[run.folder] += 1
            if is_lost(report) and self._tries[run.folder] <= RETRIES:
                self._waiting.insert(0, (key, run))
                return None
            return Report(None, self._failure(run, report))
        if report.busy:
            self._later.append((now + LATER_S, key, run))
            reported = run.folder in self._reported
            self._reported.add(run.folder)
            return None if reported else report
        self._made.add(key)
        return report

    def _failure(self, run: SweepRun, error: BaseException) -> dict[str, Any]:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if is_lost(error):
            times = self._tries[run.folder]
            what = f"Its worker was lost {times} times, the last time: {lines[0]}"
            return failure_of(RunError(what, hint="If memory ran out, use fewer --workers."))
        what = f"A worker could not begin: {lines[-1]}"
        return failure_of(RunError(what, hint='On every machine: pip install "fewtune[ray]"'))
