"""Show the metrics of a run, or measure it on other images.

Without --data, prints what was measured when the run was made. With --data, measures the run on the
test split there, or on all images if there is none, next to zero-shot on the same images. Classes
are matched by name, so their order does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fewtune.cli.support.console import Console
from fewtune.cli.support.verb import Argument, Json, MovedBackbone, Root, compute_options, verb
from fewtune.core.errors import RunError
from fewtune.core.fields import Flag
from fewtune.core.files import write_bytes
from fewtune.core.naming import counted
from fewtune.model.load_strategy import zero_shot_of
from fewtune.training.find_runs import baseline_record, find_run
from fewtune.training.run_folder import RunFolder

if TYPE_CHECKING:
    from fewtune.training.evaluation import Evaluation

# Attributes of an evaluation that --json shows.
PRINTED = ("images", "left_out", "similar", "classes", "metrics")


def run(
    folder: Annotated[str, Argument("RUN")],
    data: Annotated[str | None, Flag(metavar="DIR|NAME"), "images to measure the run on"] = None,
    root: Root = None,
    new_classes: Annotated[
        bool,
        "use the classes of --data instead of the run's; needs class prompts, so not with --type "
        "vision",
    ] = False,
    backbone: MovedBackbone = None,
    output: Annotated[
        Path | None,
        Flag(metavar="DIR", short="-o"),
        "write tables per class, of confusions and of predictions into this folder",
    ] = None,
    machine: Json = False,
    **compute: Any,
) -> None:
    """Print the metrics of a run."""
    console, path = Console(machine=machine), find_run(folder)
    if data is None:
        _recorded(path, console, output)
        return
    from fewtune.api import evaluate
    from fewtune.cli.support.data_checks import ShownOnConsole

    listener = ShownOnConsole(console)
    found = evaluate(
        path,
        data,
        root=root,
        new_classes=new_classes,
        listener=listener,
        backbone=backbone,
        **compute,
    )
    if output:
        _write(found, output)
    if machine:
        metadata = {"folder": str(path), "data": data}
        console.json(metadata | {name: getattr(found, name) for name in PRINTED})
    else:
        _show(found, console)
        _say_written(output, console)


command = verb(run, __doc__, compute_options())


def _show(found: Evaluation, console: Console) -> None:
    from fewtune.cli.support.result_tables import show_metrics

    console.line()
    console.line(
        f"{found.task}, {counted(len(found.classes), 'class')}, {counted(found.images, 'image')}"
    )
    for note in found.notes:
        console.line(f"  {note}")
    show_metrics(console, found.metrics, len(found.classes), found.images)


def _write(found: Evaluation, out: Path) -> None:
    from fewtune.reports.evaluation_files import write_answers, write_tables

    write_tables(out, found.classes, found.labels, found.answers)
    write_answers(out, found.classes, found.keys, found.labels, found.answers, found.confidence)


def _recorded(path: Path, console: Console, output: Path | None) -> None:
    from fewtune.cli.support.result_tables import show_results

    opened = RunFolder(path)
    record = opened.record()
    zero_shot = baseline_record(opened.path, opened.spec())
    if output and record["metrics"]:
        _write_recorded(opened, record["task"]["classes"], output)
    if console.machine:
        console.json({"folder": str(opened.path), "record": record, "zero_shot": zero_shot})
        return
    if not record["metrics"] and "measured" not in record:
        raise RunError(
            f"{opened.path} was made without test images.",
            hint="Measure it on some: fewtune evaluate RUN --data DIR",
        )
    show_results(console, record, zero_shot)
    _say_written(output, console)


def _write_recorded(folder: RunFolder, classes: Sequence[str], out: Path) -> None:
    """Write the tables of what was measured when the run was made."""
    from fewtune.reports.evaluation_files import write_tables

    labels, predicted = folder.predictions()
    answers = {folder.spec().strategy: predicted}
    zero_shot = RunFolder(folder.path.parent / zero_shot_of(folder.spec()).folder())
    if zero_shot.complete() and (found := zero_shot.predictions())[0] == labels:
        answers = {"zero-shot": found[1]} | answers
    write_tables(out, classes, labels, answers)
    write_bytes(out / "predictions.csv", (folder.path / "predictions.csv").read_bytes())


def _say_written(out: Path | None, console: Console) -> None:
    if out:
        names = ("per_class.csv", "confusion.csv", "predictions.csv")
        console.line(f"wrote {', '.join(str(out / name) for name in names)}")
