"""Figures of a study as SVG that follows the page: its text takes the reader's colour.

Equal records give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fewtune.bench.figures import COLOURS, MARKERS, TEXT, style, svg
from fewtune.bench.results import Cell, Method, Study
from fewtune.bench.tables import title_of
from fewtune.core.spec import ZERO_SHOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
PANEL_IN = (3.3, 2.6)


def accuracy_curves(study: Study) -> str:
    """Accuracy against shots: a panel a task and their average; zero-shot is a dashed line."""
    shots = [s for s in study.shots if s is not None]
    if len(shots) < 2:
        return ""
    panels: list[str | None] = [*study.tasks, *([None] if len(study.tasks) > 1 else [])]
    with _figure(len(panels)) as (figure, axes):
        for panel, axis in zip(panels, axes, strict=True):
            axis.set_title("average" if panel is None else panel)
            tasks = study.tasks if panel is None else (panel,)
            for index, method in enumerate(study.methods):
                _curve(axis, study, method, tasks, shots, index)
            axis.set_xscale("log", base=2)
            axis.set_xticks(shots, [str(s) for s in shots])
            axis.minorticks_off()
        _label(axes, "shots (training images a class)", "top-1 in %")
        _legend(figure, axes[0])
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
    means = [100 * sum(c.mean for c in cells) / len(cells) for _, cells in known]
    if method.strategy == ZERO_SHOT:
        axis.axhline(means[0], color=TEXT, linestyle="--", linewidth=1.2, label=title_of(method))
        return
    spread = [100 * _mean_spread(cells) for _, cells in known]
    axis.errorbar(
        [s for s, _ in known], means, yerr=spread, label=title_of(method), **_look(index, line=True)
    )


def _mean_spread(cells: Sequence[Cell]) -> float:
    """Return the standard deviation of the mean over tasks, whose seeds are independent."""
    return math.sqrt(sum((cell.spread or 0) ** 2 for cell in cells)) / len(cells)


def efficiency(study: Study) -> str:
    """Mean accuracy at the largest number of shots against trained parameters and minutes."""
    shots = study.shots[-1] if study.shots else None
    with _figure(2, columns=2) as (figure, axes):
        drawn = 0
        for index, method in enumerate(study.methods):
            score, runs = study.average(method, shots), study.runs(method, shots)
            if method.strategy == ZERO_SHOT or score is None:
                continue
            drawn += 1
            for axis, cost in zip(axes, ("trained_parameters", "training_s"), strict=True):
                mean = sum(run.record["cost"][cost] for run in runs) / len(runs)
                value = mean / 60 if cost == "training_s" else mean
                axis.plot([max(value, 1e-3)], [100 * score], label=title_of(method), **_look(index))
        if not drawn:
            return ""
        for axis, name in zip(axes, ("trained parameters", "minutes of training"), strict=True):
            _logarithmic(axis)
            axis.set_xlabel(name)
        axes[0].set_ylabel("top-1 in %")
        _legend(figure, axes[0])
        return svg(figure)


def _logarithmic(axis: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.margins(0.15)


def gains(study: Study, groups: Mapping[str, str]) -> str:
    """Gain over zero-shot of every task as a dot, by group; the bar is the group's mean."""
    shots = study.shots[-1] if study.shots else None
    names = sorted({groups.get(task, "own") for task in study.tasks})
    methods = study.tuned()
    with _figure(len(names)) as (figure, axes):
        for name, axis in zip(names, axes, strict=True):
            axis.set_title(name)
            tasks = [task for task in study.tasks if groups.get(task, "own") == name]
            for index, method in enumerate(methods):
                found = [study.gain(method, task, shots) for task in tasks]
                values = [100 * gain for gain in found if gain is not None]
                if not values:
                    continue
                look = _look(study.methods.index(method))
                axis.barh(index, sum(values) / len(values), color=look["color"], alpha=0.35)
                axis.plot(values, [index] * len(values), **look)
            axis.axvline(0, color=TEXT, linewidth=0.8)
            axis.set_yticks(range(len(methods)), [title_of(method) for method in methods])
            axis.invert_yaxis()
        _label(axes, "gain over zero-shot in points", "", share_y=True)
        return svg(figure)


def retention(study: Study) -> str:
    """Gain on the tuned task against the change on the others: a dot a method and task."""
    shots = study.shots[-1] if study.shots else None
    with _figure(1, panel_in=(5.4, 3.4)) as (figure, axes):
        axis, drawn = axes[0], False
        for index, method in enumerate(study.methods):
            points = [
                (100 * gain, 100 * sum(changes) / len(changes))
                for task in study.tasks
                if (cell := study.cell(method, task, shots))
                and (gain := study.gain(method, task, shots)) is not None
                and (changes := cell.changes_elsewhere)
            ]
            if points:
                drawn = True
                axis.plot(*zip(*points, strict=True), label=title_of(method), **_look(index))
        if not drawn:
            return ""
        axis.axhline(0, color=TEXT, linewidth=0.8)
        axis.set_xlabel("gain on the tuned task in points")
        axis.set_ylabel("change on the others in points")
        _legend(figure, axis)
        return svg(figure)


def recalls(study: Study, task: str) -> str:
    """Recall of each class by each method at the largest number of shots, as a heat map."""
    shots = study.shots[-1] if study.shots else None
    rows, labels = [], []
    names: list[str] = []
    for method in study.methods:
        cell = study.cell(method, task, shots)
        if cell is None:
            continue
        columns = zip(*(run.record["per_class"] for run in cell.runs), strict=True)
        rows.append([_mean_known(column) for column in columns])
        labels.append(title_of(method))
        names = cell.runs[0].record["task"]["classes"]
    width = max(4.0, min(11.0, 1.5 + 0.32 * len(names)))
    with _figure(1, panel_in=(width, 1.1 + 0.3 * len(rows))) as (figure, axes):
        axis = axes[0]
        shown = [[100 * v if v is not None else math.nan for v in row] for row in rows]
        image = axis.imshow(shown, vmin=0, vmax=100, aspect="auto", cmap="viridis")
        axis.set_yticks(range(len(labels)), labels)
        if len(names) <= 50:
            axis.set_xticks(range(len(names)), names, rotation=60, ha="right")
        else:
            axis.set_xticks([])
            axis.set_xlabel(f"{len(names)} classes, in label order")
        figure.colorbar(image, ax=axis, label="recall in %")
        return svg(figure)


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _look(index: int, *, line: bool = False) -> dict[str, Any]:
    look: dict[str, Any] = {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 5,
        "linestyle": "-" if line else "none",
    }
    return look | ({"linewidth": 1.6, "capsize": 2, "elinewidth": 0.9} if line else {})


@contextmanager
def _figure(
    panels: int, columns: int = COLUMNS, panel_in: tuple[float, float] = PANEL_IN
) -> Iterator[tuple[Figure, list[Axes]]]:
    from matplotlib.figure import Figure

    with style():
        columns = min(columns, panels)
        lines = math.ceil(panels / columns)
        size = (panel_in[0] * columns, panel_in[1] * lines + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        grid = list(figure.subplots(lines, columns, squeeze=False).flat)
        for spare in grid[panels:]:
            spare.remove()
        yield figure, grid[:panels]


def _label(axes: Sequence[Axes], x: str, y: str, *, share_y: bool = False) -> None:
    for index, axis in enumerate(axes):
        axis.set_xlabel(x)
        axis.grid(axis="x" if share_y else "y", color="#80808040", linewidth=0.6)
        axis.set_axisbelow(True)
        if index % COLUMNS == 0:
            axis.set_ylabel(y)
        elif share_y:
            axis.set_yticklabels([])


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False
    )
