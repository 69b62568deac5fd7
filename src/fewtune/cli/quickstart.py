"""Try FewTune in a minute, offline: two methods on an embedded sample, and a web page.

`photo`, the small model of photographs that comes with FewTune, is tuned on 16 photographs per
class of ten pieces of clothing, by a linear probe and by a shortened CLIP-LoRA, and compared with
zero-shot. Nothing is downloaded. Repeat the command to see the results again.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from fewtune.backbones.model_names import CAVEATS, PHOTO
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
    backbone: Annotated[str, Flag(hidden=True)] = PHOTO,
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
        "In percent. steps: factor on the recipe's length, so this is not the full method; "
        "CLIP-LoRA's rate is set for that length."
    )
    if caveat := CAVEATS.get(results[0].record["spec"]["backbone"]):
        console.line(caveat)


command = verb(run, __doc__)
