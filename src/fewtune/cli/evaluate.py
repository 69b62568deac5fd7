"""Show the metrics of a run, or measure it on other images.

Without --data, prints what was measured when the run was made. With --data, measures the run on the
test split of that folder, or on all its images if it has none, beside zero-shot on the same images;
its classes are matched with the run's by name, so their order does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewtune.cli.support.console import Console
from fewtune.cli.support.find_runs import baseline_record, find_run
from fewtune.cli.support.options import Command, Option, compute_options, moved_backbone
from fewtune.core.errors import RunError

if TYPE_CHECKING:
    from fewtune.core.task import Task

OPTIONS = (
    click.Argument(["folder"], metavar="RUN"),
    Option(["--data"], metavar="DIR|NAME", help="Images to measure the run on."),
    Option(
        ["--root"],
        type=click.Path(path_type=Path),
        metavar="DIR",
        shown="the download folder",
        help="Folder that holds datasets by name.",
    ),
    Option(
        ["--new-classes"],
        is_flag=True,
        help="Use the classes of --data instead of the run's; needs class prompts, so not "
        "with --type vision.",
    ),
    *compute_options(),
    moved_backbone(),
    Option(
        ["machine", "--json"],
        is_flag=True,
        help="Print one JSON object on stdout; words go to stderr.",
    ),
)


def run(
    folder: str,
    data: str | None,
    root: Path | None,
    new_classes: bool,
    machine: bool,
    **compute: Any,
) -> None:
    """Print the metrics of a run."""
    console = Console(machine=machine)
    if data is None:
        _recorded(folder, console)
        return
    from fewtune.datasets.catalog import resolve

    _measured(folder, data, resolve(data, root=root), new_classes, compute, console)


command = Command("evaluate", params=list(OPTIONS), callback=run, help=__doc__)


def _recorded(folder: str, console: Console) -> None:
    from fewtune.cli.support.result_tables import show_results
    from fewtune.training.run_folder import RunFolder

    opened = RunFolder(find_run(folder))
    record = opened.record()
    zero_shot = baseline_record(opened.path, opened.spec())
    if console.machine:
        console.json({"folder": str(opened.path), "record": record, "zero_shot": zero_shot})
        return
    if not record["metrics"]:
        raise RunError(
            f"{opened.path} was made without test images.",
            hint="Measure it on some: fewtune evaluate RUN --data DIR",
        )
    show_results(console, record, zero_shot)


def _measured(
    folder: str,
    data: str,
    task: Task,
    new_classes: bool,
    compute: Mapping[str, Any],
    console: Console,
) -> None:
    from fewtune.cli.support.data_checks import ShownOnConsole
    from fewtune.cli.support.result_tables import show_metrics
    from fewtune.data.verify import repair
    from fewtune.training.evaluation import evaluate_run
    from fewtune.training.load_run import load_run
    from fewtune.training.prepare import Preparation

    path = find_run(folder)
    tuned = load_run(path, **{k: v for k, v in compute.items() if v is not None})
    if not task.benchmark:
        task = repair(task, Preparation(ShownOnConsole(console)).check(task, None))
    found = evaluate_run(tuned, path, task, new_classes)
    if console.machine:
        console.json(
            {
                "folder": str(path),
                "data": data,
                "images": found.images,
                "left_out": found.left_out,
                "similar": list(found.similar),
                "classes": list(found.classes),
                "metrics": found.metrics,
            }
        )
        return
    console.line()
    console.line(f"{task.name}, {len(found.classes)} classes, {found.images:,} images")
    for note in found.notes:
        console.line(f"  {note}")
    show_metrics(console, found.metrics)
