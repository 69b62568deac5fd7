"""Turn a run into a folder that other programs load.

\b
  fewtune export RUN --to hf -o DIR    merged model, for transformers
  fewtune export RUN --to peft -o DIR  low-rank weights, for peft
  fewtune export RUN --to onnx -o DIR  a program that needs no torch

An export is refused unless its scores match the run's on image files: built-in ones of odd sizes,
and yours (--images).
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fewtune.cli.support.console import Console
from fewtune.cli.support.verb import Argument, Json, MovedBackbone, verb
from fewtune.core.fields import Flag
from fewtune.data.image_paths import expand
from fewtune.training.find_runs import find_run
from fewtune.training.run_folder import RunFolder


def run(
    folder: Annotated[str, Argument("RUN")],
    to: Annotated[Literal["hf", "peft", "onnx"], "format"],
    output: Annotated[Path, Flag(metavar="DIR", short="-o"), "folder to write"],
    images: Annotated[
        tuple[str, ...], Flag(metavar="PATH"), "image or folder to compare on; may be repeated"
    ] = (),
    machine: Json = False,
    backbone: MovedBackbone = None,
    threads: Annotated[
        int | None, Field(ge=1), Flag(shown="as torch chooses"), "CPU threads"
    ] = None,
) -> None:
    """Export a run."""
    path = find_run(folder)
    RunFolder(path).record()  # refused before torch is loaded
    from fewtune.exports import export_run

    written = export_run(path, to, output, list(expand(images)), backbone, threads)
    console = Console(machine=machine)
    if machine:
        console.json({"folder": str(written), "format": to})
    else:
        console.line(f"wrote {written}")


command = verb(run, __doc__)
