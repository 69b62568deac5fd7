"""Data report on the console: what a task holds, and what is wrong with its images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fewtune.cli.support.console import Console
from fewtune.core.task import Task
from fewtune.data.findings import DataReport, count
from fewtune.data.listener import DataListener, Progress


class ShownOnConsole(DataListener):
    """Prints what is found about images."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def checking(self, images: int) -> Iterator[Progress | None]:
        """Show how many images have been decoded."""
        with self.console.counting(f"checking {images:,} images") as progress:
            yield progress

    def opened(self, task: Task) -> None:
        """Print size and layout."""
        show_summary(task, self.console)

    def checked(self, report: DataReport) -> None:
        """Print what is wrong."""
        show_findings(report, self.console)

    def note(self, text: str) -> None:
        """Print what was done."""
        self.console.note(f"  {text}")

    def warn(self, text: str) -> None:
        """Print a warning on stderr."""
        self.console.warn(text)


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
