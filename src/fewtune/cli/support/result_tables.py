"""Result tables on the terminal: zero-shot first, then the strategy, then the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.cli.support.console import Console, count, duration, memory
from fewtune.core.draws import draw_text
from fewtune.core.naming import counted
from fewtune.core.percentages import interval_text, percent, signed, significant, telling
from fewtune.reports.summary import steps_scale

if TYPE_CHECKING:
    from fewtune.training.scoring import Metrics

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
    "In percent. recall, prec., F1: means over classes (prec. of one never predicted: 0); ECE: "
    "calibration error."
)


def show_results(
    console: Console, record: dict[str, Any], zero_shot: dict[str, Any] | None
) -> None:
    """Print a run's table."""
    from fewtune.reports.summary import doubts, scored_records

    if "measured" in record:
        console.line("A final model has no test images: it is trained on all.")
        console.line(f"These are the numbers of {record['measured']['folder']}.")
    record, zero_shot = scored_records(record, zero_shot)
    console.line()
    console.line(title(record))
    is_baseline = record["spec"]["strategy"] == "zero-shot"
    classes = len(record["task"]["classes"])
    records = [record] if zero_shot is None or is_baseline else [zero_shot, record]
    rows = []
    for of in records:
        mark = " †" if of is not record and doubts(of) else ""
        rows.append([label(of) + mark, *metric_cells(of["metrics"], classes), *_cost_cells(of)])
    if len(rows) == 2 and zero_shot is not None:
        gains = gain_cells(record["metrics"], zero_shot["metrics"], classes)
        rows.append(["gain", *gains, *[""] * 4])
    console.table(["", *METRICS.values(), *COSTS], rows, parts=[1 + len(METRICS)])
    if len(rows) == 1 and not is_baseline:
        console.line("Zero-shot is missing: its run is not next to this one.")
    top1 = {of["spec"]["strategy"]: of["metrics"]["top1"] for of in records}
    show_intervals(console, top1, record["task"]["images"]["test"])
    console.note(f"{LEGEND} share: of the backbone.")
    for doubt in doubts(record):
        console.line(f"† {doubt}")
    if not record["task"].get("validation_used", True):
        number = counted(record["task"]["images"]["val"], "validation image")
        console.note(f"{number} not used: {record['spec']['strategy']} chooses nothing on them.")


def show_intervals(console: Console, top1: Mapping[str, float | None], images: int) -> None:
    """Print what the number of test images leaves open of each top-1."""
    texts = (f"{name} {interval_text(share, images)}" for name, share in top1.items())
    console.line(f"95 % interval of top-1: {', '.join(texts)}")


def show_metrics(console: Console, rows: dict[str, Metrics], classes: int, images: int) -> None:
    """Print a table of metrics alone; with two rows, their difference below."""
    cells = [[name, *metric_cells(metrics, classes)] for name, metrics in rows.items()]
    if len(rows) == 2:
        first, second = rows.values()
        cells.append(["gain", *gain_cells(second, first, classes)])
    console.table(["", *METRICS.values()], cells)
    show_intervals(console, {name: of["top1"] for name, of in rows.items()}, images)


def title(record: dict[str, Any], seeds: Sequence[int] = ()) -> str:
    """Return what was run on what: "flowers, 102 classes, 16 shots, seed 1, ViT-B16, bf16".

    Args:
        seeds: Of several runs that differ in nothing else.
    """
    spec, task = record["spec"], record["task"]
    parts = [
        spec["task"],
        counted(len(task["classes"]), "class"),
        counted(spec["shots"], "shot") if spec["shots"] else "all training images",
        f"seeds {', '.join(map(str, seeds))}" if seeds else f"seed {spec['seed']}",
        draw_text(spec),
        Path(spec["backbone"]).name,
        spec["precision"],
        counted(task["images"]["test"], "test image"),
    ]
    return ", ".join(filter(None, parts))


def label(record: dict[str, Any]) -> str:
    """Return the strategy's name, and the factor on its steps where they were scaled."""
    scale = steps_scale(record)
    return str(record["spec"]["strategy"]) + (f"  steps x{scale:.3g}" if scale != 1 else "")


def metric_cells(metrics: Metrics, classes: int) -> list[str]:
    """Return metrics, shares in [0, 1], in percent."""
    return [percent(telling(metrics, classes)[name], 2) for name in METRICS]


def gain_cells(metrics: Metrics, base: Metrics, classes: int) -> list[str]:
    """Return differences in points, signed."""
    pairs = ((telling(metrics, classes)[name], base[name]) for name in METRICS)
    return [signed(None if a is None or b is None else a - b, 2) for a, b in pairs]


def _cost_cells(record: dict[str, Any]) -> list[str]:
    cost = record["cost"]
    trained = cost["trained_parameters"]
    return [
        count(trained),
        f"{significant(cost['trained_share'])}%" if trained else "-",
        duration(cost["training_s"]) if trained else "-",
        memory(cost["peak_memory_mib"]),
    ]
