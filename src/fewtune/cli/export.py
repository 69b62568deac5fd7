"""Turn a run into a folder that other programs load.

\b
  fewtune export RUN --to hf -o DIR    merged model, for transformers
  fewtune export RUN --to peft -o DIR  low-rank weights, for peft

An export is refused unless its logits match the run's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from fewtune.cli.support.console import Console
from fewtune.cli.support.find_runs import find_run
from fewtune.cli.support.verb import Argument, Json, MovedBackbone, verb
from fewtune.core.fields import Flag


def run(
    folder: Annotated[str, Argument("RUN")],
    to: Annotated[Literal["hf", "peft"], "format"],
    output: Annotated[Path, Flag(metavar="DIR", short="-o"), "folder to write"],
    machine: Json = False,
    backbone: MovedBackbone = None,
) -> None:
    """Export a run."""
    from fewtune.exports import export_run

    written = export_run(find_run(folder), to, output, backbone=backbone)
    console = Console(machine=machine)
    if machine:
        console.json({"folder": str(written), "format": to})
    else:
        console.line(f"wrote {written}")


command = verb(run, __doc__)
