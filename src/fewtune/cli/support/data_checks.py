"""Data report on the console: what a task holds, and what is wrong with its images."""

from collections.abc import Iterator
from contextlib import contextmanager

from fewtune.cli.support.console import Console
from fewtune.core.naming import counted
from fewtune.core.task import Task
from fewtune.data.findings import DataReport, Finding, count, name_findings
from fewtune.data.verify import DataListener, Progress

PROMPTS_SHOWN = 20
PROMPTS_OF_MANY = 5


class ShownOnConsole(DataListener):
    """Prints what is found about images.

    Args:
        worst: What findings of level "error" are called; a run leaves such images out and goes on.
    """

    def __init__(self, console: Console, worst: str = "problem") -> None:
        self.console = console
        self.worst = worst

    @contextmanager
    def checking(self, images: int) -> Iterator[Progress | None]:
        """Show how many images have been decoded."""
        with self.console.counting(f"checking {counted(images, 'image')}") as progress:
            yield progress

    def opened(self, task: Task) -> None:
        """Print size and layout."""
        show_summary(task, self.console)

    def checked(self, report: DataReport) -> None:
        """Print what is wrong."""
        show_findings(report, self.console, self.worst)

    def usable(self, task: Task) -> None:
        """Print the prompts."""
        show_prompts(task, self.console)

    def note(self, text: str) -> None:
        """Print what was done."""
        self.console.note(f"  {text}")

    def warn(self, text: str) -> None:
        """Print a warning on stderr."""
        self.console.warn(text)


def show_summary(task: Task, console: Console) -> None:
    """Print size and layout."""
    sizes = [f"{len(images):,} {split}" for split, images in task.splits().items() if images]
    console.note(f"{task.name}: {counted(len(task.classes), 'class')}, images: {', '.join(sizes)}")
    for note in task.notes:
        console.note(f"  {note}")


def show_prompts(task: Task, console: Console) -> None:
    """Print the prompt of each class; of many classes, those of the first ones."""
    classes = task.classes
    few = len(classes) <= PROMPTS_SHOWN
    console.note("  prompts:")
    for label in range(len(classes) if few else PROMPTS_OF_MANY):
        console.note(f"    {classes.names[label]}: {_prompt(task, label)}")
    if not few:
        rest = len(classes) - PROMPTS_OF_MANY
        console.note(f"    and of {rest:,} more classes: fewtune data info DIR lists all")


def _prompt(task: Task, label: int) -> str:
    """Return the first prompt of a class, and how many more there are."""
    texts = task.classes.texts(label)
    return texts[0] if len(texts) == 1 else f"{texts[0]} (and {len(texts) - 1} more)"


def show_findings(report: DataReport, console: Console, worst: str = "error") -> None:
    """Print one line per error, which is called `worst`, and warning, and one of information."""
    for finding in report.findings:
        if finding.level == "error":
            console.line(f"  {worst}: {finding.message}. {finding.hint}".rstrip())
        elif finding.level == "warning":
            console.note(_warning(finding))
    info = [f.message.partition(": ")[0] for f in report.findings if f.level == "info"]
    if info:
        console.note(f"  also: {'; '.join(info)}")


def _warning(finding: Finding) -> str:
    return f"  warning: {finding.message}. {finding.hint}".rstrip()


def show_counts(task: Task, console: Console) -> None:
    """Print the images of each class, by split, and its prompt."""
    counts = count(task)
    rows = [
        [name, *(f"{split[name]:,}" for split in counts.values()), _prompt(task, label)]
        for label, name in enumerate(task.classes.names)
    ]
    console.table(["class", *counts, "prompt"], rows, left=(0, len(counts) + 1))
    for finding in name_findings(task):
        console.note(_warning(finding))
