"""What `fewtune sweep` does once its flags are read: plan, make the runs, show what happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.cli.support.console import Console, duration
from fewtune.cli.support.run_store import RunStore, at_once, runner_of
from fewtune.core.errors import DataError

if TYPE_CHECKING:
    from fewtune.cli.support.sweep_jobs import Jobs
    from fewtune.core.protocol import Case
    from fewtune.reports.tables import ReportTable as Text
    from fewtune.sweeps.runner import CaseSource, Outcome
    from fewtune.sweeps.scheduler import Progress, Rounds

EXIT_FAILED = 1


def make(
    source: CaseSource, jobs: Jobs, place: RunStore, values: Mapping[str, Any], console: Console
) -> int:
    """Make the runs of a source that are not complete; the status is 1 if one fails.

    Args:
        place: Where they are kept.
        values: The flags of `fewtune sweep`, by parameter name.

    Raises:
        ConfigError: A run asks for what does not exist; none has been made then.
        DataError: There is no run whose data are here.
    """
    from fewtune.sweeps.scheduler import Progress, Rounds, execute

    rounds = Rounds(source, jobs, place.runs)
    progress = Progress(place.fetch(rounds.advance()), at_once(values))
    show_plan(rounds, progress, jobs, console)
    if values["dry_run"]:
        list_runs(rounds, progress, console)
        return 0
    if not progress.every:
        raise DataError(next(iter(rounds.lacking.values()), "The sweep names no run."))
    with (
        remembered(source, rounds, console),
        runner_of(values, place, console) as runner,
        ReportTable(progress, console).shown() as table,
    ):
        execute(rounds, progress, runner, table.show)
    if values["retention"]:
        from fewtune.sweeps.retention import measure_all

        console.note("measuring each run on the other tasks ...")
        measure_all(progress.every)
        place.keep(progress.every)
    show_failures(table.failed, console)
    show_lacking(rounds, console)
    decided = show_searches(rounds, console)
    console.line(f"next  fewtune report {progress.every[0].job.runs}")
    return EXIT_FAILED if table.failed or rounds.lacking or not decided else 0


def show_failures(failed: Mapping[Path, Outcome], console: Console) -> None:
    """Print why runs failed, once for all that failed alike."""
    alike: dict[str, list[Path]] = {}
    for folder, outcome in failed.items():
        alike.setdefault(outcome.error, []).append(folder)
    for text, folders in alike.items():
        more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        console.line(f"failed: {folders[0]}{more}: {text}")


def show_searches(rounds: Rounds, console: Console) -> bool:
    """Print what each search chose, and return whether all chose something."""
    from fewtune.core.search_result import search_text
    from fewtune.reports.summary import shots_text

    def name(case: Case) -> str:
        return f"{case.strategy} on {case.data}, {shots_text(case.shots)}"

    chosen = [
        f"chosen: {name(case)}: {search_text(case.chosen_by)}"
        for case in rounds.cases.values()
        if case.chosen_by is not None
    ]
    failed = [f"failed: {name(case)}: {why}" for case, why in rounds.undecided if why]
    for line in dict.fromkeys([*chosen, *failed]):
        console.line(line)
    return not failed


@contextmanager
def remembered(source: CaseSource, rounds: Rounds, console: Console) -> Iterator[None]:
    """Keep which runs are those of a protocol, and show its tables at the end, also of Ctrl-C."""
    from fewtune.core.protocol import Protocol

    if not isinstance(source, Protocol):
        yield
        return
    from fewtune.core.files import write_text
    from fewtune.reports.protocol_tables import recall, remember, tables_of
    from fewtune.reports.tables import markdown

    remember(source, rounds)
    try:
        yield
    finally:
        remember(source, rounds)
        mine = [one for one in recall([rounds.runs]) if one.protocol == source]
        tables = [table for one in mine for table in tables_of(one)]
        path = rounds.runs / f"{source.name()}.md"
        write_text(path, "\n".join(map(markdown, tables)))
        for table in tables:
            show_table(table, console)
        scored = {score.case.key() for score in rounds.scores() if score.top1 is not None}
        left = len(rounds.cases) - len(scored)
        holes = f"; {left} runs have no score, their cells are holes" if left else ""
        console.line(f"tables  {path}{holes}")


def show_table(table: Text, console: Console) -> None:
    """Print a table, turned if it is narrower so; leave it out if the screen is too narrow."""
    rows = ([row.title, *(entry.text for entry in row.entries)] for row in table.rows)
    upright = [list(table.header), *rows]
    turned = [list(column) for column in zip(*upright, strict=True)]

    def width(cells: Sequence[Sequence[str]]) -> int:
        return sum(1 + max(map(len, column)) for column in zip(*cells, strict=True))

    narrow = min(upright, turned, key=width)
    if width(narrow) <= console.rich().width:
        console.line(f"\n{table.title}")
        console.table(narrow[0], narrow[1:])


def show_plan(rounds: Rounds, progress: Progress, jobs: Jobs, console: Console) -> None:
    """Print how many runs there are, how long those that are left may take, and what is missing."""
    left, estimate = len(progress.left()), progress.remaining_s()
    without = [rounds.cases[key] for key in rounds.lacking]
    if estimate is not None:
        estimate += sum(progress.seconds(c.strategy, jobs.steps(c)) or 0.0 for c in without)
    every, complete = len(progress.every) + len(without), len(progress.every) - left
    about = f", about {duration(estimate)} left" if every > complete and estimate else ""
    console.line(f"{every} runs, {complete} complete{about}")
    more = rounds.remaining()
    if more:
        console.line(f"{more} more follow from their scores")
    show_lacking(rounds, console)
    for text, runs in Counter(text for e in progress.every for text in e.lacking).items():
        console.line(f"{runs} run{'s' * (runs != 1)} will have a hole. {text}")


def show_lacking(rounds: Rounds, console: Console) -> None:
    """Print which data are missing, how many runs want them, and how to get them."""
    for text, runs in Counter(rounds.lacking.values()).items():
        console.line(f"{runs} run{'s' * (runs != 1)} cannot be made: {text}")


def list_runs(rounds: Rounds, progress: Progress, console: Console) -> None:
    """Print what has become of each run."""
    for entry in progress.every:
        console.line(f"  {progress.status[entry.folder]:<7} {entry.folder}")
    for key in rounds.lacking:
        console.line(f"  {'no data':<7} {rounds.runs / rounds.cases[key].name()}")


class ReportTable:
    """What is done: a row a strategy, a column a task; live on a terminal, lines elsewhere.

    Attributes:
        failed: The last failure of each run.
    """

    def __init__(self, progress: Progress, console: Console) -> None:
        self.progress = progress
        self.console = console
        self.failed: dict[Path, Outcome] = {}
        self._live: Any = None

    @contextmanager
    def shown(self) -> Iterator[ReportTable]:
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

        if outcome.error:
            self.failed[outcome.entry.folder] = outcome
        else:
            self.failed.pop(outcome.entry.folder, None)
        if self._live is not None:
            self._live.update(self._grid())
            return
        spec = outcome.entry.spec
        what = f"{spec.strategy} {spec.task} {shots_text(spec.shots)} seed {spec.seed}"
        left = len(self.progress.left())
        if outcome.busy:
            self.console.note(f"{what}: another process is making it; {left} left")
            return
        score = f"{100 * outcome.record['metrics']['top1']:.1f} %" if outcome.record else "failed"
        remaining = self.progress.remaining_s()
        about = "" if remaining is None else f", about {duration(remaining)}"
        self.console.note(f"{what}: {score}, {duration(outcome.seconds)}; {left} left{about}")

    def _grid(self) -> Any:
        from rich.table import Table as Grid

        tasks = list(dict.fromkeys(entry.spec.task for entry in self.progress.every))
        strategies = list(dict.fromkeys(entry.spec.strategy for entry in self.progress.every))
        grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        for name in ("", *tasks):
            grid.add_column(name, justify="right" if name else "left")
        for strategy in strategies:
            grid.add_row(strategy, *(self._cell(strategy, task) for task in tasks))
        return grid

    def _cell(self, strategy: str, task: str) -> str:
        states = [
            self.progress.status[entry.folder]
            for entry in self.progress.every
            if entry.spec.strategy == strategy and entry.spec.task == task
        ]
        marks = [f"{n} {what}" for what in ("failed", "busy") if (n := states.count(what))]
        return ", ".join([f"{states.count('done')}/{len(states)}", *marks])
