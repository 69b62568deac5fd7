"""Results of `fewtune fit` on the console: of one run, or of one for each seed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING

from fewtune.cli.support.console import Console
from fewtune.cli.support.result_tables import (
    METRICS,
    gain_cells,
    metric_cells,
    show_results,
    title,
)

if TYPE_CHECKING:
    from fewtune.training.run import Result

LEGEND = (
    "In percent. recall, prec., F1: means over classes; ECE: calibration error; deviation: sample "
    "standard deviation over seeds; gain: of the mean."
)


def show(result: Result, console: Console) -> None:
    """Print the results: a table, the files to open and the command to type next."""
    if console.machine:
        console.json(
            {
                "folder": str(result.folder),
                "fresh": result.fresh,
                "record": result.record,
                "zero_shot": result.zero_shot,
            }
        )
        return
    if not result.fresh:
        console.line("This run is complete already; these are its results.")
    show_results(console, result.record, result.zero_shot)
    console.line()
    console.line(f"run      {result.folder}")
    for name, text in (("README.md", "card"), ("summary.png", "picture")):
        if (result.folder / name).exists():
            console.line(f"{text:<8} {result.folder / name}")
    console.line(f"next     fewtune predict {result.folder} image.jpg")


def show_seeds(results: Sequence[Result], console: Console) -> None:
    """Print zero-shot, each seed, their mean, and its gain."""
    zero_shot = results[0].zero_shot
    of_seeds = [result.record["metrics"] for result in results]
    average = {name: mean(metrics[name] for metrics in of_seeds) for name in METRICS}
    deviation = {
        name: stdev([metrics[name] for metrics in of_seeds]) if len(results) > 1 else 0.0
        for name in METRICS
    }
    if console.machine:
        console.json(
            {
                "runs": [
                    {"folder": str(r.folder), "fresh": r.fresh, "record": r.record} for r in results
                ],
                "zero_shot": zero_shot,
                "mean": average,
                "deviation": deviation,
            }
        )
        return
    seeds = [result.record["spec"]["seed"] for result in results]
    console.line()
    console.line(title(results[0].record, seeds))
    rows = [
        ["zero-shot", *metric_cells(zero_shot["metrics"])],
        *(
            [f"seed {seed}", *metric_cells(metrics)]
            for seed, metrics in zip(seeds, of_seeds, strict=True)
        ),
        ["mean", *metric_cells(average)],
        ["deviation", *metric_cells(deviation)],
        ["gain", *gain_cells(average, zero_shot["metrics"])],
    ]
    console.table([results[0].record["spec"]["strategy"], *METRICS.values()], rows)
    console.note(LEGEND)
    console.line()
    for result in results:
        console.line(f"run      {result.folder}")
