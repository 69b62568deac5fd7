"""Turn a run into a folder that other programs load.

\b
  fewtune export RUN --to hf -o DIR    merged model, for transformers
  fewtune export RUN --to peft -o DIR  low-rank weights, for peft

An export is refused unless its logits match the run's.
"""

from __future__ import annotations

from pathlib import Path

import click

from fewtune.cli.support.console import Console
from fewtune.cli.support.find_runs import find_run
from fewtune.cli.support.options import Command, Option, choice, moved_backbone

OPTIONS = (
    click.Argument(["folder"], metavar="RUN"),
    Option(["target", "--to"], type=choice("hf", "peft"), required=True, help="Format."),
    Option(
        ["output", "-o", "--output"],
        type=click.Path(path_type=Path),
        required=True,
        metavar="DIR",
        help="Folder to write.",
    ),
    Option(["machine", "--json"], is_flag=True, help="Print one JSON object on stdout."),
    moved_backbone(),
)


def run(folder: str, target: str, output: Path, machine: bool, backbone: str | None) -> None:
    """Export a run."""
    from fewtune.exports import export_run

    written = export_run(find_run(folder), target, output, backbone=backbone)
    console = Console(machine=machine)
    if machine:
        console.json({"folder": str(written), "format": target})
    else:
        console.line(f"wrote {written}")


command = Command("export", params=list(OPTIONS), callback=run, help=__doc__)
