"""Runs of `fewtune fit`: the images are checked, one run or one per seed is made and printed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING

from fewtune.cli.support.console import Console
from fewtune.cli.support.data_checks import ShownOnConsole
from fewtune.cli.support.result_tables import (
    METRICS,
    gain_cells,
    metric_cells,
    show_results,
    title,
)
from fewtune.core.errors import ConfigError
from fewtune.model.load_strategy import load_strategy

if TYPE_CHECKING:
    from fewtune.core.run_config import RunConfig
    from fewtune.training.run import Result

LEGEND = (
    "In percent. recall, prec., F1: means over classes; ECE: calibration error; deviation: sample "
    "standard deviation over seeds; gain: of the mean."
)


def fit_and_show(config: RunConfig, seeds: Sequence[int], console: Console) -> None:
    """Make the run that a config asks for, or one for each seed, and print the results.

    Raises:
        ConfigError: A value is wrong, or the images do not fit it.
        DataError: The images cannot be used.
        RunError: Training failed.
    """
    from fewtune.cli.support.progress import make_terminal
    from fewtune.reports.model_card import write_card
    from fewtune.training.prepare import Preparation
    from fewtune.training.run import run
    from fewtune.training.tracking import Trackers, make_tracker
    from fewtune.training.vmapped.vmapped_runs import run_vmapped

    if seeds:
        refuse_seeds(config)
    tracker = make_tracker(config.tracker)
    preparation = Preparation(ShownOnConsole(console), write_card)
    if not seeds:
        job = preparation.job(config)
        with make_terminal(console) as terminal:
            result = run(job, Trackers([terminal, tracker]))
        show(result, console)
        return
    jobs = [preparation.job(config.changed(seed=seed)) for seed in seeds]
    with make_terminal(console) as terminal:
        results = run_vmapped(jobs, Trackers([terminal, tracker]))
    show_seeds(results, console)


def refuse_seeds(config: RunConfig) -> None:
    """Refuse several seeds where there is one already, or where none matters.

    Raises:
        ConfigError: A seed is set, too, or the strategy trains nothing.
    """
    if config.seed:
        raise ConfigError("--seed and --seeds exclude each other.", hint="Use --seeds alone.")
    kind = load_strategy(config.strategy)
    if kind.recipe is None:
        raise ConfigError(
            f"{kind.name()} trains nothing: every seed would give the same.",
            hint="Leave out --seeds.",
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
