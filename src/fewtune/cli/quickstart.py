"""Try FewTune in a minute, offline: two methods on an embedded sample, and a web page.

The embedded pictogram model `picto` is tuned on 16 images per class of a Fashion-MNIST sample with
CLIP-LoRA and CLIPFit, both with shortened recipes, and compared with zero-shot. Nothing is
downloaded. Repeat the command to see the results again.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from fewtune.backbones.model_names import EMBEDDED
from fewtune.cli.support.console import Console, count, duration
from fewtune.cli.support.verb import verb
from fewtune.core.fields import Flag

if TYPE_CHECKING:
    from fewtune.training.job import Result


def run(
    out: Annotated[
        Path,
        Flag(metavar="DIR", shown="the current folder"),
        "folder for the page and the runs",
    ] = Path(),
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), "seed of the draw and of training"] = 0,
    backbone: Annotated[str, Flag(hidden=True)] = EMBEDDED,
) -> None:
    """Run the comparison, print its table and write its page."""
    from fewtune import quickstart
    from fewtune.cli.support.progress import make_terminal

    console = Console()
    methods, shots = len(quickstart.STEPS_SCALE), quickstart.SHOTS
    console.line(
        f"{methods} methods, {shots} training images per class; about a minute, no network."
    )
    with closing(make_terminal(console)) as terminal:
        results, page = quickstart.quickstart(out, seed, backbone, terminal)
    show(console, results)
    console.line()
    console.line(f"page  {page.absolute()}")
    console.line(f"next  {quickstart.NEXT}")


def show(console: Console, results: list[Result]) -> None:
    """Print a row for each run, zero-shot first."""
    from fewtune.core.percentages import percent, signed
    from fewtune.reports.summary import rows

    table = [
        [
            row.title + (" (best)" if row.best else ""),
            percent(row.metrics["top1"]),
            "" if row.gain is None else signed(row.gain),
            percent(row.metrics["f1"]),
            count(row.parameters) if row.steps else "",
            duration(row.seconds) if row.steps else "",
            f"x{row.steps_scale:.2g}" if row.steps else "",
        ]
        for row in rows(results[0].zero_shot, [result.record for result in results])
    ]
    console.line()
    console.table(["", "top-1", "gain", "F1", "trained", "time", "steps"], table)
    console.line(
        "In percent. steps: factor on the recipe's length, so these are not the full methods. "
        "Rates, and CLIPFit's regulariser, are set for that length and the model's logit scale."
    )
    if results[0].record["spec"]["backbone"] == EMBEDDED:
        console.line("picto is a pictogram model: this says nothing about photographs.")


command = verb(run, __doc__)
