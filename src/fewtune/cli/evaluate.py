"""Show the metrics of a run, or measure it on other images.

Without --data, prints what was measured when the run was made. With --data, measures the run on the
test split there, or on all images if there is none, next to zero-shot on the same images. Classes
are matched by name, so their order does not matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fewtune.cli.support.console import Console
from fewtune.cli.support.verb import Argument, Json, MovedBackbone, Root, compute_options, verb
from fewtune.core.errors import RunError
from fewtune.core.fields import Flag
from fewtune.core.naming import counted
from fewtune.training.find_runs import baseline_record, find_run

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
    machine: Json = False,
    **compute: Any,
) -> None:
    """Print the metrics of a run."""
    console, path = Console(machine=machine), find_run(folder)
    if data is None:
        _recorded(path, console)
        return
    from fewtune.api import evaluate
    from fewtune.cli.support.data_checks import ShownOnConsole
    from fewtune.cli.support.result_tables import show_metrics

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
    if machine:
        metadata = {"folder": str(path), "data": data}
        console.json(metadata | {name: getattr(found, name) for name in PRINTED})
        return
    console.line()
    console.line(
        f"{found.task}, {counted(len(found.classes), 'class')}, {counted(found.images, 'image')}"
    )
    for note in found.notes:
        console.line(f"  {note}")
    show_metrics(console, found.metrics, len(found.classes), found.images)


command = verb(run, __doc__, compute_options())


def _recorded(path: Path, console: Console) -> None:
    from fewtune.cli.support.result_tables import show_results
    from fewtune.training.run_folder import RunFolder

    opened = RunFolder(path)
    record = opened.record()
    zero_shot = baseline_record(opened.path, opened.spec())
    if console.machine:
        console.json({"folder": str(opened.path), "record": record, "zero_shot": zero_shot})
        return
    if not record["metrics"] and "measured" not in record:
        raise RunError(
            f"{opened.path} was made without test images.",
            hint="Measure it on some: fewtune evaluate RUN --data DIR",
        )
    show_results(console, record, zero_shot)
