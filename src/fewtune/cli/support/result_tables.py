"""Result tables on the terminal: zero-shot first, then the strategy, then the difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fewtune.cli.support.console import Console, count, duration, memory
from fewtune.core.draws import draw_text
from fewtune.core.percentages import percent, signed, significant

METRICS = {
    "top1": "top-1",
    "top5": "top-5",
    "recall": "recall",
    "precision": "prec.",
    "f1": "F1",
    "calibration_error": "ECE",
}
COSTS = ("params", "share", "train", "memory")
LEGEND = (
    "In percent. recall, prec., F1: means over classes; ECE: calibration error; share: of the "
    "backbone."
)


def show_results(
    console: Console, record: dict[str, Any], zero_shot: dict[str, Any] | None
) -> None:
    """Print a run's table."""
    from fewtune.reports.summary import doubts

    console.line()
    console.line(title(record))
    rows = []
    is_baseline = record["spec"]["strategy"] == "zero-shot"
    if zero_shot is not None and not is_baseline:
        mark = " †" if doubts(zero_shot) else ""
        rows.append(
            [f"zero-shot{mark}", *metric_cells(zero_shot["metrics"]), *_cost_cells(zero_shot)]
        )
    rows.append([label(record), *metric_cells(record["metrics"]), *_cost_cells(record)])
    if len(rows) == 2 and zero_shot is not None:
        rows.append(["gain", *gain_cells(record["metrics"], zero_shot["metrics"]), *[""] * 4])
    console.table(["", *METRICS.values(), *COSTS], rows)
    console.note(LEGEND)
    for doubt in doubts(record):
        console.line(f"† {doubt}")


def show_metrics(console: Console, rows: dict[str, dict[str, float]]) -> None:
    """Print a table of metrics alone; with two rows, their difference below."""
    cells = [[name, *metric_cells(metrics)] for name, metrics in rows.items()]
    if len(rows) == 2:
        first, second = rows.values()
        cells.append(["gain", *gain_cells(second, first)])
    console.table(["", *METRICS.values()], cells)


def title(record: dict[str, Any], seeds: Sequence[int] = ()) -> str:
    """Return what was run on what: "flowers, 102 classes, 16 shots, seed 1, ViT-B16, bf16".

    Args:
        seeds: Of several runs that differ in nothing else.
    """
    spec, task = record["spec"], record["task"]
    parts = [
        spec["task"],
        f"{len(task['classes'])} classes",
        f"{spec['shots']} shots" if spec["shots"] else "all training images",
        f"seeds {', '.join(map(str, seeds))}" if seeds else f"seed {spec['seed']}",
        draw_text(spec),
        Path(spec["backbone"]).name,
        spec["precision"],
        f"{task['images']['test']:,} test images",
    ]
    return ", ".join(filter(None, parts))


def label(record: dict[str, Any]) -> str:
    """Return the strategy's name, and the factor on its steps where they were scaled."""
    scale = record["plan"]["steps_scale"]
    scaled = scale != 1.0 and record["spec"]["recipe"] is not None
    return str(record["spec"]["strategy"]) + (f"\nsteps x{scale:.3g}" if scaled else "")


def metric_cells(metrics: dict[str, float]) -> list[str]:
    """Return metrics, shares in [0, 1], in percent."""
    return [percent(metrics[name], 2) for name in METRICS]


def gain_cells(metrics: dict[str, float], base: dict[str, float]) -> list[str]:
    """Return differences in points, signed."""
    return [signed(metrics[name] - base[name], 2) for name in METRICS]


def _cost_cells(record: dict[str, Any]) -> list[str]:
    cost = record["cost"]
    trained = cost["trained_parameters"]
    return [
        count(trained),
        f"{significant(cost['trained_share'])}%" if trained else "-",
        duration(cost["training_s"]) if trained else "-",
        memory(cost["peak_memory_mib"]),
    ]
