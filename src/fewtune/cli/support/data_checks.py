"""The data report as lines, and the way from `--data` to a task that can be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewtune.backbones.model_names import EMBEDDED
from fewtune.backbones.model_names import resolve as resolve_backbone
from fewtune.cli.support.console import Console
from fewtune.core.errors import DataError
from fewtune.core.task import Task, with_test_split
from fewtune.data.decode import open_image
from fewtune.data.findings import DataReport, count
from fewtune.data.verify import repair, verify
from fewtune.datasets.catalog import resolve

# A photograph has at least this many pixels per side and more than so many colours.
PHOTO_SIDE_PX = 200
PHOTO_COLOURS = 5000
PHOTO_SAMPLE = 9


def open_data(data: str, *, templates: Sequence[str] = (), **choices: Any) -> Task:
    """Return the task behind `--data`: a path or the name of a dataset.

    Args:
        choices: As `fewtune.datasets.catalog.resolve` takes them.
    """
    return resolve(data, templates=list(templates) or None, **choices)


def check(task: Task, shots: int | None, console: Console) -> DataReport:
    """Decode every image once and print what was found."""
    total = sum(map(len, task.splits().values()))
    with console.counting(f"checking {total:,} images") as progress:
        report = verify(task, shots, progress=progress)
    show_summary(task, console)
    show_findings(report, console)
    return report


def usable(task: Task, report: DataReport, console: Console) -> Task:
    """Return the task repaired and with a test split, and say what was done to it."""
    known = set(task.notes)
    task = repair(task, report)
    task = repair(with_test_split(task), report)
    for note in task.notes:
        if note not in known:
            console.note(f"  {note}")
    return task


def show_summary(task: Task, console: Console) -> None:
    """Print size and layout."""
    sizes = [f"{len(images):,} {split}" for split, images in task.splits().items() if images]
    console.note(f"{task.name}: {len(task.classes)} classes, images: {', '.join(sizes)}")
    for note in task.notes:
        console.note(f"  {note}")


def show_findings(report: DataReport, console: Console) -> None:
    """Print errors and warnings a line each, information on one line."""
    for finding in report.findings:
        if finding.level == "error":
            console.line(f"  error: {finding.message}. {finding.hint}".rstrip())
        elif finding.level == "warning":
            console.note(f"  warning: {finding.message}. {finding.hint}".rstrip())
    info = [f.message.partition(": ")[0] for f in report.findings if f.level == "info"]
    if info:
        console.note(f"  also: {'; '.join(info)}")


def show_counts(task: Task, console: Console) -> None:
    """Print the images of each class, by split."""
    counts = count(task)
    rows = [
        [name, *(f"{split[name]:,}" for split in counts.values())] for name in task.classes.names
    ]
    console.table(["class", *counts], rows)


def warn_of_photographs(task: Task, backbone: str, console: Console) -> None:
    """Warn when the pictogram model is asked to look at photographs."""
    if resolve_backbone(backbone).name == EMBEDDED and looks_like_photographs(task):
        console.warn(
            f"{EMBEDDED} is a pictogram model and these images look like photographs. For those "
            "use --backbone ViT-B16."
        )


def looks_like_photographs(task: Task) -> bool:
    """Return whether most of a few training images are large and rich in colour."""
    sample = task.train[:: max(1, len(task.train) // PHOTO_SAMPLE)][:PHOTO_SAMPLE]
    photographs = 0
    for example in sample:
        try:
            image = open_image(example.source)
        except DataError:
            continue
        large = min(image.size) > PHOTO_SIDE_PX
        photographs += large and image.getcolors(PHOTO_COLOURS) is None
    return 2 * photographs > len(sample)
