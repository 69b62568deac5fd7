"""Plots of a study as SVG that follows the page: its text takes the reader's colour.

Equal records give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING

from fewtune.core.spec import ZERO_SHOT
from fewtune.reports.figures import (
    CHARACTER_IN,
    COLUMNS,
    TEXT,
    label,
    legend,
    log_scale,
    look,
    panels,
    svg,
)
from fewtune.reports.grouping import Method
from fewtune.reports.study_runs import Cell, Study
from fewtune.reports.study_tables import VISION, by_group

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COSTS = {
    "trained_parameters": "trained parameters",
    "training_s": "minutes of training",
    "peak_memory_mib": "peak memory in MiB",
}
LEAST_MINUTES = 1e-3


def accuracy_curves(study: Study) -> str:
    """Accuracy against shots: a panel per task and their average; zero-shot is a dashed line."""
    if len(_counted(study)) < 2:
        return ""
    average = [("average", study, study.tasks)] if len(study.tasks) > 1 else []
    return _curves([*((task, study, [task]) for task in study.tasks), *average])


def average_curves(studies: Sequence[Study]) -> str:
    """Average accuracy against shots, a panel for each backbone."""
    several = (study for study in studies if len(_counted(study)) > 1)
    return _curves([(f"{study.backbone}, average", study, study.tasks) for study in several])


def _counted(study: Study) -> list[int]:
    return [shots for shots in study.shots if shots is not None]


def _curves(shown: Sequence[tuple[str, Study, Sequence[str]]]) -> str:
    """Draw a panel for each title: means over these tasks of the study."""
    if not shown:
        return ""
    with panels(len(shown)) as (figure, axes):
        for (title, study, tasks), axis in zip(shown, axes, strict=True):
            axis.set_title(title)
            shots = _counted(study)
            for index, method in enumerate(study.methods):
                _curve(axis, study, method, tasks, shots, index)
            axis.set_xscale("log", base=2)
            axis.set_xticks(shots, [str(s) for s in shots])
            axis.minorticks_off()
        label(axes, "shots (training images per class)", "top-1 in %")
        legend(figure, axes)
        return svg(figure)


def _curve(
    axis: Axes,
    study: Study,
    method: Method,
    tasks: Sequence[str],
    shots: Sequence[int],
    index: int,
) -> None:
    columns = [(s, [study.cell(method, task, s) for task in tasks]) for s in shots]
    known = [(s, [c for c in cells if c]) for s, cells in columns if None not in cells]
    if not known:
        return
    means = [mean(cell.mean for cell in cells) for _, cells in known]
    if method.strategy == ZERO_SHOT:
        _dashed(axis, means[0], method)
        return
    spread = [100 * _mean_spread(cells) for _, cells in known]
    axis.errorbar(
        [s for s, _ in known],
        [100 * share for share in means],
        yerr=spread,
        label=method.title,
        **look(index, line=True),
    )


def _dashed(axis: Axes, top1: float, method: Method) -> None:
    axis.axhline(100 * top1, color=TEXT, linestyle="--", linewidth=1.2, label=method.title)


def _mean_spread(cells: Sequence[Cell]) -> float:
    """Return the standard deviation of the mean over tasks, whose seeds are independent.

    NaN, which is not drawn, where a cell has one seed.
    """
    squares = (math.nan if cell.spread is None else cell.spread**2 for cell in cells)
    return math.sqrt(sum(squares)) / len(cells)


def efficiency(study: Study) -> str:
    """Mean accuracy at the main number of shots against what it cost; zero-shot is dashed."""
    shots = study.main_shots
    with panels(len(COSTS)) as (figure, axes):
        drawn = False
        for index, method in enumerate(study.methods):
            score, runs = study.average(method, shots), study.runs(method, shots)
            if score is None:
                continue
            drawn |= method.strategy != ZERO_SHOT
            for axis, cost in zip(axes, COSTS, strict=True):
                if method.strategy == ZERO_SHOT:
                    _dashed(axis, score, method)
                    continue
                value = mean(run.record["cost"][cost] for run in runs)
                value = max(value / 60, LEAST_MINUTES) if cost == "training_s" else value
                axis.plot([value], [100 * score], label=method.title, **look(index))
        if not drawn:
            return ""
        label(axes, "", "top-1 in %")
        for axis, (cost, name) in zip(axes, COSTS.items(), strict=True):
            if cost != "peak_memory_mib":
                log_scale(axis)
            axis.set_xlabel(name)
        legend(figure, axes)
        return svg(figure)


def gains(study: Study, groups: Mapping[str, str]) -> str:
    """Gain over zero-shot of every task as a dot, by group; the bar is the group's mean.

    Dots of methods with a linear head are hollow.
    """
    shots, methods = study.main_shots, study.tuned()
    tasks = by_group(study, groups)
    height_in = 1.0 + 0.22 * max(2, len(methods))
    names_in = CHARACTER_IN * max((len(method.title) for method in methods), default=0)
    width_in = 2.4 + names_in / min(COLUMNS, len(tasks))
    with panels(len(tasks), panel_in=(width_in, height_in)) as (figure, axes):
        for (name, of_group), axis in zip(tasks.items(), axes, strict=True):
            axis.set_title(name)
            for place, method in enumerate(methods):
                found = [study.gain(method, task, shots) for task in of_group]
                values = [100 * gain for gain in found if gain is not None]
                if not values:
                    continue
                drawn = look(study.methods.index(method), hollow=method.modality == VISION)
                axis.barh(place, mean(values), color=drawn["color"], alpha=0.35)
                axis.plot(values, [place] * len(values), **drawn)
            axis.axvline(0, color=TEXT, linewidth=0.8)
            axis.set_yticks(range(len(methods)), [method.title for method in methods])
            axis.set_ylim(len(methods) - 0.4, -0.6)
        label(axes, "gain over zero-shot in points", "", share_y=True)
        return svg(figure)


def retention(study: Study) -> str:
    """Gain on the tuned task against the change on the others: a dot a method and task."""
    shots = study.main_shots
    with panels(1, panel_in=(6.6, 3.4)) as (figure, axes):
        axis, drawn = axes[0], False
        for index, method in enumerate(study.methods):
            points = [
                (100 * gain, 100 * mean(kept.change for kept in cell.kept))
                for task in study.tasks
                if (cell := study.cell(method, task, shots))
                and (gain := study.gain(method, task, shots)) is not None
                and cell.kept
            ]
            if points:
                drawn = True
                axis.plot(*zip(*points, strict=True), label=method.title, **look(index))
        if not drawn:
            return ""
        axis.axhline(0, color=TEXT, linewidth=0.8)
        axis.axvline(0, color=TEXT, linewidth=0.8)
        axis.set_xlabel("gain on the tuned task in points")
        axis.set_ylabel("change on the others in points")
        legend(figure, axes)
        return svg(figure)
