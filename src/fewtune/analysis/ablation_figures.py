"""Figures of ablations: lines in panels, one option at a time, and two options as a heat map."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.analysis import ablation as ablations
from fewtune.analysis import layer_sums
from fewtune.analysis.ablation import Ablation, Value
from fewtune.core.naming import brief
from fewtune.core.percentages import percent, with_spread
from fewtune.reports.figures import (
    COLOURS,
    MARKERS,
    TEXT,
    blank,
    grid,
    legend,
    subplots,
    write_figure,
)
from fewtune.reports.study_runs import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNIT = "top-1 in %"
COLUMNS = 3
CHARACTERS = 25  # that tick labels of a panel may have side by side, blanks included
SETTINGS = 60  # that are listed in one figure


def analyse(
    places: Sequence[Path],
    out: Path,
    x: str | None = None,
    lines: str | None = None,
    *,
    mixed: bool = False,
) -> list[dict[str, Any]]:
    """Write a CSV, a JSON and figures for each ablation below `places`, and return the JSONs."""
    found = ablations.read(places, mixed=mixed)
    for ablation in found:
        name = f"ablation-{ablation.name}"
        shape = ablations.shape(ablation, x, lines)
        layer_sums.write_numbers(out / name, ablations.table(ablation), ablations.facts(ablation))
        drawn: list[tuple[str, Callable[[], Figure], str]] = [
            ("options", partial(_options, ablation), f"by {', '.join(ablation.axes)}")
        ]
        if 1 < len(ablation.scores) <= SETTINGS:
            drawn.append(("settings", partial(_settings, ablation), "of every setting"))
        if shape:
            drawn.append(("lines", partial(_lines, ablation, shape), f"by {', '.join(shape)}"))
        for a, b in ablations.pairs(ablation, shape):
            drawn.append((f"{a}-{b}", partial(_heat, ablation, a, b), f"by {a} and {b}"))
        for end, draw, words in drawn:
            write_figure(out / f"{name}-{end}", draw, f"{ablation.heading()}: {UNIT} {words}.")
    return [ablations.facts(ablation) for ablation in found]


def _options(ablation: Ablation) -> Figure:
    """Draw a panel for each option: its values, with all other options at the reference."""
    scores: dict[str, dict[Value, Cell]] = {}
    for name, value, score in ablations.one_at_a_time(ablation):
        scores.setdefault(name, {})[value] = score
    shown = {name: of for name, of in scores.items() if len(of) > 1}
    columns = 2 if len(shown) == 4 else min(COLUMNS, max(1, len(shown)))
    rows = max(1, math.ceil(len(shown) / columns))
    figure = blank(2.3 * columns + 0.4, 2.0 * rows + 0.5)
    panels = subplots(figure, len(shown), columns, sharey=True)
    reference = dict(zip(ablation.axes, ablation.reference, strict=True))
    for index, (axis, (name, of)) in enumerate(zip(panels, shown.items(), strict=True)):
        values = tuple(of)
        linestyle = "-" if ablations.numeric(values) else "none"
        _line(axis, tuple(of.values()), linestyle, COLOURS[0], MARKERS[0])
        if (here := reference[name]) in of:
            axis.plot([values.index(here)], [100 * of[here].mean], marker="o", markersize=9,
                      markerfacecolor="none", markeredgecolor=COLOURS[1])  # fmt: skip
        _finish(axis, name, values, ablation.zero_shot)
        if index % columns == 0:
            axis.set_ylabel(UNIT)
    figure.suptitle(f"{ablation.heading()}\nelse {_reference(ablation)} (ringed)", size=9)
    return figure


def _lines(ablation: Ablation, shape: Sequence[str]) -> Figure:
    """Draw accuracy against one option: lines are values of another, panels those of others."""
    x, lines, *panels = shape
    across = panels[0] if panels else None
    down = panels[1] if len(panels) > 1 else None
    of_columns: Sequence[Value] = ablation.axes[across] if across else (None,)
    of_rows: Sequence[Value] = ablation.axes[down] if down else (None,)
    width, height = 2.05 * len(of_columns) + 0.6, 1.75 * len(of_rows) + 0.75
    figure = blank(max(3.4, width), max(2.9, height))
    axes = figure.subplots(len(of_rows), len(of_columns), squeeze=False, sharex=True, sharey=True)
    for row, low in zip(axes, of_rows, strict=True):
        for axis, high in zip(row, of_columns, strict=True):
            fixed = ({across: high} if across else {}) | ({down: low} if down else {})
            for index, value in enumerate(ablation.axes[lines]):
                scores = [ablation.at(**fixed, **{lines: value, x: v}) for v in ablation.axes[x]]
                shift = 0.06 * (index - (len(ablation.axes[lines]) - 1) / 2)
                look = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
                _line(axis, scores, "-", *look, shift=shift, label=brief(value))
            titles = [f"{name} {brief(v)}" for name, v in fixed.items()]
            axis.set_title(", ".join(titles), size=8)
            _finish(axis, "", ablation.axes[x], ablation.zero_shot)
        row[0].set_ylabel(UNIT)
    for axis in axes[-1]:
        axis.set_xlabel(x)
    figure.suptitle(ablation.heading(), size=9)
    legend(figure, axes.flat, title=lines)
    return figure


def _settings(ablation: Ablation) -> Figure:
    """Draw every setting, named by what leaves the reference, the best one first."""
    ranked = sorted(ablation.scores.items(), key=lambda item: -item[1].mean)
    names = [
        ", ".join(f"{name} {brief(value)}" for name, value in ablation.changes(setting).items())
        for setting, _ in ranked
    ]
    figure = blank(6.4, 0.17 * len(ranked) + 1.0)
    axis = figure.subplots()
    for place, (setting, score) in enumerate(ranked):
        colour = COLOURS[1] if setting == ablation.reference else COLOURS[0]
        axis.errorbar(100 * score.mean, place, xerr=100 * _drawn(score.spread), color=colour,
                      marker="o", markersize=3.5, elinewidth=0.7)  # fmt: skip
    axis.set_yticks(range(len(ranked)), [name or "reference" for name in names], size=7)
    axis.set_ylim(len(ranked) - 0.5, -0.5)
    grid(axis, "x")
    axis.set_xlabel(UNIT)
    if ablation.zero_shot is not None:
        axis.axvline(100 * ablation.zero_shot, color=TEXT, linestyle="--", linewidth=0.9)
    figure.suptitle(f"{ablation.heading()}\nreference: {_reference(ablation)}", size=9)
    return figure


def _reference(ablation: Ablation) -> str:
    settings = zip(ablation.axes, ablation.reference, strict=True)
    return ", ".join(f"{name} {brief(value)}" for name, value in settings)


def _line(
    axis: Axes,
    scores: Sequence[Cell | None],
    linestyle: str,
    colour: str,
    marker: str,
    *,
    shift: float = 0.0,
    label: str | None = None,
) -> None:
    """Draw means and spreads over seeds at 0, 1, ...; a hole is left out."""
    known = [(place + shift, score) for place, score in enumerate(scores) if score is not None]
    axis.errorbar(
        [place for place, _ in known],
        [100 * score.mean for _, score in known],
        yerr=[100 * _drawn(score.spread) for _, score in known],
        label=label, color=colour, marker=marker, markersize=3.5, linewidth=1.1, elinewidth=0.7,
        linestyle=linestyle,
    )  # fmt: skip


def _finish(axis: Axes, name: str, values: Sequence[Value], zero_shot: float | None) -> None:
    axis.set_xticks(range(len(values)), [brief(value) for value in values])
    axis.set_xlim(-0.5, len(values) - 0.5)
    if sum(len(brief(value)) + 1 for value in values) > CHARACTERS:
        axis.tick_params(axis="x", rotation=30)
    axis.set_xlabel(name)
    grid(axis)
    if zero_shot is not None:
        axis.axhline(100 * zero_shot, color=TEXT, linestyle="--", linewidth=0.9)
        axis.annotate("zero-shot", (1, 100 * zero_shot), (0, 2), size=6.5, ha="right",
                      xycoords=("axes fraction", "data"), textcoords="offset points")  # fmt: skip


def _heat(ablation: Ablation, a: str, b: str) -> Figure:
    """Draw the mean of each pair of values, all other options at the reference."""
    rows, columns = ablation.axes[a], ablation.axes[b]
    scores = [[ablation.at(**{a: low, b: high}) for high in columns] for low in rows]
    means = [[100 * s.mean if s else math.nan for s in line] for line in scores]
    figure = blank(0.85 * len(columns) + 2.0, 0.38 * len(rows) + 1.1)
    axis = figure.subplots()
    edges = [[i - 0.5 for i in range(len(v) + 1)] for v in (columns, rows)]
    mesh = axis.pcolormesh(*edges, means, cmap="cividis", edgecolors="face")
    low, high = mesh.get_clim()
    for i, line in enumerate(scores):
        for j, score in enumerate(line):
            if score is None:
                axis.text(j, i, "–", ha="center", va="center", size=8)
                continue
            dark = 100 * score.mean < (low + high) / 2
            axis.text(j, i, with_spread(percent(score.mean), score.spread), ha="center",
                      va="center", size=7, color="white" if dark else "black")  # fmt: skip
    axis.set_xticks(range(len(columns)), [brief(value) for value in columns])
    axis.set_yticks(range(len(rows)), [brief(value) for value in rows])
    axis.tick_params(length=0)
    axis.invert_yaxis()
    axis.spines[:].set_visible(False)
    axis.set_xlabel(b)
    axis.set_ylabel(a)
    axis.set_title(f"{ablation.heading()}\n{UNIT}", size=9)
    return figure


def _drawn(spread: float | None) -> float:
    """Return a spread; NaN, which is not drawn, for a single seed."""
    return math.nan if spread is None else spread
