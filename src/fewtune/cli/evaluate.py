"""Show the metrics of a run, or measure it on other images.

Without --data, prints what was measured when the run was made. With --data, measures the run on the
test split of that folder, or on all its images if it has none, beside zero-shot on the same images;
its classes are matched with the run's by name, so their order does not matter.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewtune.cli.support.console import Console
from fewtune.cli.support.find_runs import baseline_record, find_run
from fewtune.cli.support.options import Command, Option
from fewtune.core.errors import DataError, RunError, did_you_mean
from fewtune.core.task import Example, Task

if TYPE_CHECKING:
    from fewtune.training.load_run import Tuned

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
    Option(["--device"], default="auto", shown="auto", help="auto, cpu, cuda."),
    Option(
        ["machine", "--json"],
        is_flag=True,
        help="Print one JSON object on stdout; words go to stderr.",
    ),
)


def run(
    folder: str, data: str | None, root: Path | None, new_classes: bool, device: str, machine: bool
) -> None:
    """Print the metrics of a run."""
    console = Console(machine=machine)
    if data is None:
        _recorded(folder, console)
        return
    from fewtune.cli.support.data_checks import open_data

    _measured(folder, data, open_data(data, root=root), new_classes, device, console)


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
    folder: str, data: str, task: Task, new_classes: bool, device: str, console: Console
) -> None:
    from fewtune.cli.support.data_checks import check
    from fewtune.cli.support.result_tables import show_metrics
    from fewtune.data.verify import repair
    from fewtune.training.load_run import load_run

    path = find_run(folder)
    tuned = load_run(path, device)
    if not task.benchmark:
        task = repair(task, check(task, None, console))
    tuned, examples = match_classes(tuned, task, new_classes)
    metrics = measure(tuned, examples)
    if console.machine:
        console.json(
            {
                "folder": str(path),
                "data": data,
                "images": len(examples),
                "classes": list(tuned.classes.names),
                "metrics": metrics,
            }
        )
        return
    console.line()
    console.line(f"{task.name}, {len(tuned.classes)} classes, {len(examples):,} images")
    show_metrics(console, metrics)


def match_classes(tuned: Tuned, task: Task, new_classes: bool) -> tuple[Tuned, tuple[Example, ...]]:
    """Return the classifier and the images to measure it on, labelled with its classes.

    Raises:
        DataError: A class of the data is none of the run's, and new ones are not asked for or the
            run cannot have any.
    """
    examples = task.test or (*task.train, *task.val)
    if new_classes:
        classes = replace(task.classes, templates=tuned.classes.templates)
        return tuned.with_classes(classes), examples
    folded = {_fold(name): label for label, name in enumerate(tuned.classes.names)}
    exact = {name: label for label, name in enumerate(tuned.classes.names)}
    labels = []
    for name in task.classes.names:
        label = exact.get(name, folded.get(_fold(name)))
        if label is None:
            raise DataError(
                f"The data has class {name!r}, which the run does not know.",
                hint=f"{did_you_mean(name, tuned.classes.names)} To use the classes of the data, "
                "add --new-classes.",
            )
        labels.append(label)
    return tuned, tuple(replace(example, label=labels[example.label]) for example in examples)


def measure(tuned: Tuned, examples: tuple[Example, ...]) -> dict[str, dict[str, float]]:
    """Return {row: metrics}: zero-shot with the same prompts first, then the run."""
    import torch

    from fewtune.strategies.zero_shot import ZeroShot
    from fewtune.training.scoring import metrics

    labels = torch.tensor([example.label for example in examples])
    rows: dict[str, dict[str, float]] = {}
    with tuned.head.model.original():
        untouched: Any = ZeroShot().attach(tuned.head.model, tuned.classes).eval()
        rows["zero-shot"] = metrics(replace(tuned, head=untouched).scores(examples), labels)
    name = tuned.spec.strategy if tuned.spec else "zero-shot"
    rows[name] = metrics(tuned.scores(examples), labels)
    return rows


def _fold(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ").strip()
