"""Make many runs: every combination of the lists in a file, each once.

FILE.toml has the keys of `fewtune fit`; a list is an axis. Options of one strategy stand in a table
of its name:

\b
    strategy = ["linear-probe", "clip-adapter", "clip-lora"]
    data = ["vtab/dtd", "my-images"]
    shots = [1, 4, 16]
    seed = [1, 2, 3]
    backbone = "picto"
    [clip-lora]
    rank = [2, 4]

What is complete is not made again, so the same command continues a sweep that was stopped. A run
that fails is reported, does not stop the others, and is tried again the next time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewtune.cli.config import as_defaults, read_toml
from fewtune.cli.console import Console, duration
from fewtune.cli.fit import OPTIONS, options_given, strategy_command
from fewtune.cli.options import Command, Option
from fewtune.core.discovery import load_strategy, strategy_names

if TYPE_CHECKING:
    from fewtune.bench.sweep import Outcome, Progress
    from fewtune.core.task import Task
    from fewtune.engine.job import Job

EXIT_FAILED = 1


def sweep(file: Path, dry_run: bool, retention: bool, cards: bool, quiet: bool) -> int:
    """Make the runs of a file that are not complete; the status is 1 if one fails."""
    from fewtune.bench.sweep import Progress, entries, execute
    from fewtune.engine.tracking import Tracker

    console = Console(quiet=quiet)
    progress = Progress(entries(jobs(file, cards, console)))
    left, estimate = len(progress.left()), progress.remaining_s()
    console.line(
        f"{len(progress.every)} runs, {len(progress.every) - left} complete"
        + (f", about {duration(estimate)} left" if left and estimate else "")
    )
    if dry_run:
        for entry in progress.every:
            console.line(f"  {entry.status():<7} {entry.folder}")
        return 0
    with Table(progress, console).shown() as table:
        execute(progress, Tracker(), table.show)
    if retention:
        from fewtune.bench.retention import measure_all

        console.note("measuring each run on the other tasks ...")
        measure_all(progress.every)
    for outcome in table.failed:
        console.line(f"failed: {outcome.entry.folder}: {outcome.error}")
    console.line(f"next  fewtune report {progress.every[0].job.runs}")
    return EXIT_FAILED if table.failed else 0


def jobs(file: Path, cards: bool, console: Console) -> Iterator[Job]:
    """Yield the job of each cell of the grid; images are opened and checked once.

    Raises:
        ConfigError: A key or a value is wrong; nothing was run then.
    """
    from dataclasses import replace

    from fewtune.bench.grid import expand
    from fewtune.cli.launch import prepare

    lists = [option.opts[0].removeprefix("--") for option in OPTIONS if option.multiple]
    opened: dict[str, Task] = {}
    for cell in expand(read_toml(file), strategy_names(), lists):
        kind = load_strategy(str(cell.pop("strategy")))
        command = strategy_command(kind)
        context = command.make_context(
            "sweep", [], default_map=as_defaults(cell, file, command.params)
        )
        job = prepare(kind, context.params, options_given(context, kind), console, opened)
        yield replace(job, card=cards)


class Table:
    """What is done: a row a strategy, a column a task; live on a terminal, lines elsewhere."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self.progress = progress
        self.console = console
        self.failed: list[Outcome] = []
        self._live: Any = None

    @contextmanager
    def shown(self) -> Iterator[Table]:
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
        from fewtune.engine.outcome import shots_text

        if outcome.error:
            self.failed.append(outcome)
        if self._live is not None:
            self._live.update(self._grid())
            return
        spec = outcome.entry.spec
        score = f"{100 * outcome.record['metrics']['top1']:.1f} %" if outcome.record else "failed"
        self.console.note(
            f"{spec.strategy} {spec.task} {shots_text(spec.shots)} seed {spec.seed}: {score}, "
            f"{duration(outcome.seconds)}; {len(self.progress.left())} left, "
            f"about {duration(self.progress.remaining_s() or 0)}"
        )

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
        failed = states.count("failed")
        return f"{states.count('done')}/{len(states)}" + (f", {failed} failed" if failed else "")


command = Command(
    "sweep",
    callback=sweep,
    help=__doc__,
    params=[
        click.Argument(["file"], metavar="FILE.toml", type=click.Path(path_type=Path)),
        Option(["--dry-run"], is_flag=True, help="List the runs and make none."),
        Option(
            ["--retention"],
            is_flag=True,
            help="Measure each run on the other tasks too: what tuning on one costs on these.",
        ),
        Option(["--cards"], is_flag=True, help="Write a card and a picture for each run too."),
        Option(["--quiet"], is_flag=True, help="Leave out progress."),
    ],
)
