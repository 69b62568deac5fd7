"""Sweeps on the console: what is planned, what is done, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.cli.support.console import Console, duration, rich_text
from fewtune.cli.support.data_checks import ShownOnConsole
from fewtune.core.naming import counted
from fewtune.core.percentages import percent

if TYPE_CHECKING:
    from fewtune.reports.tables import ReportTable
    from fewtune.sweeps.make_runs import Sweep
    from fewtune.sweeps.runner import Outcome
    from fewtune.sweeps.scheduler import Scheduler
    from fewtune.sweeps.sources import SweepFile

EXIT_FAILED = 1


def sweep_and_show(file: SweepFile, settings: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Make the runs of a sweep that are not complete; the status is 1 if one fails.

    Args:
        settings: As of `api.sweep`.
        values: The flags that are no settings, by parameter name.
    """
    from fewtune.api import plan_sweep
    from fewtune.reports.protocol_tables import remembered

    console = Console(quiet=values["quiet"])
    sweep = plan_sweep(file, settings, ShownOnConsole(console), cards=values["cards"])
    show_plan(sweep, console, quietly=console.quiet and not values["dry_run"])
    if values["dry_run"]:
        list_runs(sweep, console)
        return 0
    try:
        with remembered(sweep.source, sweep.scheduler), LiveTable(sweep, console).shown() as table:
            sweep.make(ended=table.show, note=console.note)
    finally:
        show_protocol(sweep, console)
    if values["retention"]:
        console.note("measuring each run on the other tasks ...")
        sweep.measure_retention()
    show_failures(sweep.scheduler.failed, console)
    show_missing(sweep.scheduler, console)
    show_searches(sweep, console)
    made = len(sweep.progress.every) - len(sweep.progress.left())
    console.line(f"{counted(len(sweep.progress.every), 'run')}, {made} complete")
    console.line(f"next  fewtune report {sweep.place.folder}")
    return 0 if sweep.complete else EXIT_FAILED


def show_failures(failed: Mapping[Path, str], console: Console) -> None:
    """Print why runs failed, once for all that failed alike."""
    alike: dict[str, list[Path]] = {}
    for folder, error in failed.items():
        alike.setdefault(error, []).append(folder)
    for text, folders in alike.items():
        more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        console.line(f"failed: {folders[0]}{more}: {text}")


def show_searches(sweep: Sweep, console: Console) -> None:
    """Print what each search chose, or why it could not."""
    from fewtune.core.search_result import search_text

    chosen = [
        f"chosen: {case.label()}: {search_text(case.chosen_by)}"
        for case in sweep.scheduler.cases.values()
        if case.chosen_by is not None
    ]
    for line in dict.fromkeys([*chosen, *(f"failed: {why}" for why in sweep.undecided())]):
        console.line(line)


def show_protocol(sweep: Sweep, console: Console) -> None:
    """Print the tables of a protocol and where they are written."""
    from fewtune.core.protocol import Protocol
    from fewtune.reports.protocol_tables import tables_file, tables_of_protocol

    protocol, scheduler = sweep.source, sweep.scheduler
    if not isinstance(protocol, Protocol) or not sweep.progress.every:
        return
    for table in tables_of_protocol(protocol, scheduler.folder):
        show_table(table, console)
    scored = {score.case.key() for score in scheduler.scores() if score.top1 is not None}
    left = len(scheduler.cases) - len(scored)
    holes = (
        f"; {counted(left, 'run has', 'runs have')} no score, a hole in the table" if left else ""
    )
    console.line(f"tables  {tables_file(protocol, scheduler.folder)}{holes}")


def show_table(table: ReportTable, console: Console) -> None:
    """Print a table, turned if it is narrower so."""
    rows = ([row.title, *(entry.text for entry in row.entries)] for row in table.rows)
    upright = [list(table.header), *rows]
    turned = [list(column) for column in zip(*upright, strict=True)]

    def width(cells: Sequence[Sequence[str]]) -> int:
        return sum(1 + max(map(len, column)) for column in zip(*cells, strict=True))

    narrow = min(upright, turned, key=width)
    console.line(f"\n{table.title}")
    console.table(narrow[0], narrow[1:])


def show_plan(sweep: Sweep, console: Console, *, quietly: bool = False) -> None:
    """Print how many runs there are, how long those that are left may take, and what is missing.

    Args:
        quietly: Leave out how many there are, which is said at the end.
    """
    scheduler, progress, jobs = sweep.scheduler, sweep.progress, sweep.jobs
    left, estimate = len(progress.left()), progress.remaining_s()
    without = [scheduler.cases[key] for key in scheduler.missing]
    if estimate is not None:
        estimate += sum(progress.seconds(c.strategy, jobs.steps(c)) or 0.0 for c in without)
    every, complete = len(progress.every) + len(without), len(progress.every) - left
    about = f", about {duration(estimate)} left" if every > complete and estimate else ""
    if not quietly:
        console.line(f"{counted(every, 'run')}, {complete} complete{about}")
    more = scheduler.remaining()
    if more:
        console.line(f"{counted(more, 'more follows', 'more follow')} from their scores")
    show_missing(scheduler, console)
    for text, runs in Counter(text for e in progress.every for text in e.missing).items():
        console.line(f"{counted(runs, 'run')} will have a hole. {text}")


def show_missing(scheduler: Scheduler, console: Console) -> None:
    """Print which data are missing, how many runs want them, and how to get them."""
    for text, runs in Counter(scheduler.missing.values()).items():
        console.line(f"{runs} run{'s' * (runs != 1)} cannot be made: {text}")


def list_runs(sweep: Sweep, console: Console) -> None:
    """Print what has become of each run."""
    scheduler, progress = sweep.scheduler, sweep.progress
    runs: list[tuple[str, int | None, int, Path]] = [
        (progress.status[run.folder], run.spec.shots, run.spec.seed, run.folder)
        for run in progress.every
    ]
    cases = (scheduler.cases[key] for key in scheduler.missing)
    runs += [("no data", c.shots, c.seed, scheduler.folder / c.name()) for c in cases]
    rows = [[state, str(shots or "all"), str(seed), str(run)] for state, shots, seed, run in runs]
    console.table(["state", "shots", "seed", "run"], rows, left=(0, 3))


class LiveTable:
    """What is done: a row per strategy, a column per task; live on a terminal, else lines."""

    def __init__(self, sweep: Sweep, console: Console) -> None:
        self.progress = sweep.progress
        self.console = console
        self._live: Any = None

    @contextmanager
    def shown(self) -> Iterator[LiveTable]:
        """Draw the table while runs are made, and leave it on the screen."""
        if not self.console.live:
            yield self
            return
        from rich.live import Live

        with Live(self._grid(), console=self.console.rich(), refresh_per_second=4) as live:
            self._live = live
            yield self
            live.update(self._grid())

    def show(self, outcome: Outcome) -> None:
        """Show a run that has ended."""
        from fewtune.reports.summary import shots_text

        if self._live is not None:
            self._live.update(self._grid())
            return
        spec = outcome.run.spec
        what = f"{spec.strategy} {spec.task} {shots_text(spec.shots)} seed {spec.seed}"
        left = len(self.progress.left())
        if outcome.busy:
            self.console.note(f"{what}: another process is making it; {left} left")
            return
        score = f"{percent(outcome.record['metrics']['top1'])} %" if outcome.record else "failed"
        remaining = self.progress.remaining_s()
        about = "" if remaining is None else f", about {duration(remaining)}"
        self.console.note(f"{what}: {score}, {duration(outcome.seconds)}; {left} left{about}")

    def _grid(self) -> Any:
        from rich.table import Table as Grid

        tasks = list(dict.fromkeys(run.spec.task for run in self.progress.every))
        strategies = list(dict.fromkeys(run.spec.strategy for run in self.progress.every))
        grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        for name in ("", *tasks):
            grid.add_column(rich_text(name), justify="right" if name else "left", no_wrap=not name)
        for strategy in strategies:
            grid.add_row(strategy, *(self._cell(strategy, task) for task in tasks))
        return grid

    def _cell(self, strategy: str, task: str) -> str:
        states = [
            self.progress.status[run.folder]
            for run in self.progress.every
            if run.spec.strategy == strategy and run.spec.task == task
        ]
        marks = [f"{n} {what}" for what in ("failed", "busy") if (n := states.count(what))]
        return ", ".join([f"{states.count('done')}/{len(states)}", *marks])
