"""Results of `fewtune fit` on the console: of one run, or of one for each seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING

from fewtune.cli.support.console import Console
from fewtune.cli.support.result_tables import (
    LEGEND,
    METRICS,
    gain_cells,
    metric_cells,
    show_intervals,
    show_results,
    title,
)

if TYPE_CHECKING:
    from fewtune.training.job import Result
    from fewtune.training.scoring import Metrics

SEEDS_LEGEND = f"{LEGEND} deviation: sample standard deviation over seeds; gain: of the mean."


def show(result: Result, console: Console) -> None:
    """Print the results: a table, the files to open and the command to type next."""
    if console.machine:
        console.json(
            {
                "folder": str(result.folder),
                "fresh": result.fresh,
                "record": result.record,
                "zero_shot": result.zero_shot,
                **({"final": str(result.final)} if result.final else {}),
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
    if result.final:
        console.line(f"final    {result.final} (trained on all images, not measured itself)")
    console.line(f"next     fewtune predict {result.final or result.folder} image.jpg")


def show_seeds(results: Sequence[Result], console: Console) -> None:
    """Print zero-shot, each seed, their mean, and its gain."""
    of_seeds = [result.record["metrics"] for result in results]
    average = _over_seeds(mean, of_seeds)
    deviation = _over_seeds(stdev, of_seeds)
    # Where drawn images are scored, each seed has a zero-shot run of its own.
    zero_shot = _over_seeds(mean, [result.zero_shot["metrics"] for result in results])
    if console.machine:
        console.json(
            {
                "runs": [
                    {"folder": str(r.folder), "fresh": r.fresh, "record": r.record} for r in results
                ],
                "zero_shot": results[0].zero_shot,
                "zero_shot_mean": zero_shot,
                "mean": average,
                "deviation": deviation,
            }
        )
        return
    classes = len(results[0].record["task"]["classes"])
    seeds = [result.record["spec"]["seed"] for result in results]
    console.line()
    console.line(title(results[0].record, seeds))
    rows = [
        ["zero-shot", *metric_cells(zero_shot, classes)],
        *(
            [f"seed {seed}", *metric_cells(metrics, classes)]
            for seed, metrics in zip(seeds, of_seeds, strict=True)
        ),
        ["mean", *metric_cells(average, classes)],
        ["deviation", *metric_cells(deviation, classes)],
        ["gain", *gain_cells(average, zero_shot, classes)],
    ]
    console.table([results[0].record["spec"]["strategy"], *METRICS.values()], rows)
    images = results[0].record["task"]["images"]["test"]
    show_intervals(console, {"zero-shot": zero_shot["top1"], "mean": average["top1"]}, images)
    console.note(SEEDS_LEGEND)
    console.line()
    for result in results:
        console.line(f"run      {result.folder}")


def _over_seeds(
    summarise: Callable[[Sequence[float]], float], of_seeds: Sequence[Metrics]
) -> Metrics:
    """Return the mean or the deviation of each metric; None where a seed lacks it."""
    found: Metrics = {}
    for name in METRICS:
        values = [value for metrics in of_seeds if (value := metrics[name]) is not None]
        whole = len(values) == len(of_seeds) and (summarise is mean or len(values) > 1)
        found[name] = summarise(values) if whole else None
    return found
