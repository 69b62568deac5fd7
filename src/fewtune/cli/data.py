"""Look at images before training on them.

`fewtune data info DIR` counts them, `fewtune data verify DIR` opens each of them, and
`fewtune data sample DIR` writes some to try FewTune on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fewtune.cli.console import Console
from fewtune.cli.options import Command, Number, Option
from fewtune.core.errors import ConfigError, did_you_mean

EXIT_ERRORS = 1

JSON = Option(["machine", "--json"], is_flag=True, help="Print one JSON object on stdout.")


def verify(location: str, shots: int | None, machine: bool) -> int:
    """Decode every image and report."""
    from fewtune.cli.images import check, open_data

    console = Console(machine=machine)
    report = check(open_data(location), shots, console)
    if machine:
        console.json(report.to_json())
    elif not report.findings:
        console.line("  nothing to complain about")
    return EXIT_ERRORS if report.errors else 0


def info(location: str, machine: bool) -> None:
    """Count, without opening an image."""
    from fewtune.cli.images import open_data, show_counts, show_summary
    from fewtune.data.report import count

    console = Console(machine=machine)
    task = open_data(location)
    if machine:
        console.json(
            {
                "task": task.name,
                "classes": list(task.classes.names),
                "counts": count(task),
                "notes": list(task.notes),
                "fingerprint": task.fingerprint(),
                "licence": task.licence,
                "citation": task.citation,
            }
        )
        return
    show_summary(task, console)
    show_counts(task, console)


def sample(folder: Path) -> None:
    """Write the embedded sample task to a new folder."""
    from fewtune.datasets.fashion import LICENCE, TITLE, write_sample

    written = write_sample(folder)
    console = Console()
    console.line(f"{TITLE} is in {written} ({LICENCE}).")
    console.line(f"next     fewtune fit --data {folder} --backbone picto --shots 16")


class Data(click.Group):
    """Names the closest of its commands when it is given another."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Refuse an unknown command."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise ConfigError(
                f"There is no command 'data {args[0]}'.", hint=did_you_mean(args[0], self.commands)
            )
        return super().resolve_command(ctx, args)


LOCATION = ["location"]
command = Data(
    "data",
    help=__doc__,
    commands={
        "verify": Command(
            "verify",
            callback=verify,
            short_help="Decode every image and report what is wrong.",
            help="Decode every image once and report what is wrong; the exit status is 1 if a "
            "finding is an error. A second look at an unchanged folder takes no time.",
            params=[
                click.Argument(LOCATION, metavar="DIR|NAME"),
                Option(
                    ["--shots"], type=Number(True, ge=1), help="Report classes with fewer images."
                ),
                JSON,
            ],
        ),
        "info": Command(
            "info",
            callback=info,
            short_help="Show layout, classes and counts.",
            help="Show layout, classes and counts, without opening an image.",
            params=[click.Argument(LOCATION, metavar="DIR|NAME"), JSON],
        ),
        "sample": Command(
            "sample",
            callback=sample,
            short_help="Write the images that come with FewTune.",
            help="Write the images that come with FewTune, 1,160 pieces of clothing, to a new "
            "folder: something to try every other command on.",
            params=[
                click.Argument(["folder"], metavar="DIR", type=click.Path(path_type=Path)),
            ],
        ),
    },
)
