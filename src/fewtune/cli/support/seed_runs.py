"""`fewtune fit --seeds 1,2,3`: a run for each seed, at once where possible, and one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from fewtune.cli.support.console import Console
from fewtune.cli.support.fit_run import prepare
from fewtune.cli.support.result_tables import METRICS, gain_cells, metric_cells, title
from fewtune.core.errors import ConfigError

LEGEND = (
    "In percent. recall, prec., F1: means over classes; ECE: calibration error; deviation: sample "
    "standard deviation over seeds; gain: of the mean."
)

if TYPE_CHECKING:
    from fewtune.core.task import Task
    from fewtune.model.strategy import Strategy
    from fewtune.training.run import Result


def execute(
    kind: type[Strategy], values: Mapping[str, Any], options: Mapping[str, Any]
) -> list[Result]:
    """Check the data, make a run for each seed, and print them with their mean and deviation.

    Args are those of `fewtune.cli.support.fit_run.execute`.

    Raises:
        ConfigError: --seed is given, too, or the strategy trains nothing.
    """
    from fewtune.cli.support.progress import make_terminal
    from fewtune.training.tracking import Trackers, make_tracker
    from fewtune.training.vmapped.vmapped_runs import run_batched

    if values["seed"]:
        raise ConfigError("--seed and --seeds exclude each other.", hint="Use --seeds alone.")
    if kind.recipe is None:
        raise ConfigError(
            f"{kind.name()} trains nothing: every seed would give the same.",
            hint="Leave out --seeds.",
        )
    console = Console(machine=values["machine"], quiet=values["quiet"])
    tracker = make_tracker(values["tracker"])
    opened: dict[str, Task] = {}
    jobs = [
        prepare(kind, {**values, "seed": seed, "seeds": None}, options, console, opened)
        for seed in values["seeds"]
    ]
    with make_terminal(console) as terminal:
        results = run_batched(jobs, Trackers([terminal, tracker]))
    show(results, console)
    return results


def show(results: Sequence[Result], console: Console) -> None:
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
