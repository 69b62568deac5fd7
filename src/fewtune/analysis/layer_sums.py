"""Sums by layer, over the tensors of one kind in a stage, as tables and figures.

A figure has a panel for each tower, with stages from input to output, and a row for each run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from fewtune.analysis.parameter_map import GROUPS, ParameterGroup, ParameterMap, TowerName
from fewtune.core.files import write_json, write_text
from fewtune.reports.figures import COLOURS, MARKERS, blank, grid, legend, log_scale, write_figure
from fewtune.reports.tables import csv_of_mappings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fewtune.analysis.replay import Opened

TOWERS: tuple[TowerName, ...] = ("text", "image", "both")
TITLES = {
    "text": "block of the text tower",
    "image": "block of the image tower",
    "both": "decision",
}
BLOCK = "block."
STAGE_IN, LEAST_IN = 0.3, 0.9


class Layer(NamedTuple):
    """The tensors of one kind in a stage."""

    tower: TowerName
    stage: str
    group: str


def layer_of(part: ParameterGroup) -> Layer:
    """Return the layer that a tensor belongs to."""
    return Layer(part.tower, part.stage, part.group)


def groups(values: Mapping[Layer, float]) -> list[dict[str, Any]]:
    """Return the layers of each tower and kind: their values by stage."""
    found: dict[tuple[TowerName, str], dict[str, float]] = defaultdict(dict)
    for layer, value in values.items():
        found[layer.tower, layer.group][layer.stage] = value
    return [
        {
            "tower": tower,
            "group": group,
            "mean": fmean(of.values()),
            "largest": max(of, key=lambda stage: of[stage]),
            "stages": of,
        }
        for (tower, group), of in sorted(
            found.items(), key=lambda item: (TOWERS.index(item[0][0]), GROUPS.index(item[0][1]))
        )
    ]


def write_numbers(stem: Path, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> None:
    """Write rows with the same keys as CSV, and facts as JSON; an unknown number is empty."""
    write_text(stem.with_name(f"{stem.name}.csv"), csv_of_mappings(rows))
    write_json(stem.with_name(f"{stem.name}.json"), facts)


def write_panels(
    stem: Path,
    found: Sequence[tuple[Opened, Mapping[Layer, float]]],
    quantity: str,
    words: str,
    *,
    logarithmic: bool = True,
) -> None:
    """Write STEM.svg and .pdf with a row of panels for each run; nothing if there are no values.

    Args:
        quantity: What the values are, with its unit.
        logarithmic: Then only values above 0 are drawn.
    """
    values = [layer for _, of in found for layer in of]
    shown = _axis_of([run.parameters for run, _ in found], values)
    rows = [(run.label, of) for run, of in found]
    if shown:
        write_figure(
            stem,
            lambda: _draw(shown, rows, quantity, logarithmic=logarithmic),
            f"{words}: {'; '.join(label for label, _ in rows)}.",
        )


def _axis_of(maps: Sequence[ParameterMap], values: Iterable[Layer]) -> dict[TowerName, list[str]]:
    """Return the stages to show of each tower, input first: all blocks, and others with values.

    A tower without values is left out. Of several backbones the deepest sets the scale.
    """
    found = {(layer.tower, layer.stage) for layer in values}
    shown: dict[TowerName, list[str]] = {}
    for tower in TOWERS:
        deepest = max((parameters.tower(tower) for parameters in maps), key=len)
        stages = [
            level.stage
            for level in deepest
            if level.stage.startswith(BLOCK) or (tower, level.stage) in found
        ]
        if any((tower, stage) in found for stage in stages):
            shown[tower] = stages
    return shown


def _draw(
    shown: Mapping[TowerName, list[str]],
    rows: Sequence[tuple[str, Mapping[Layer, float]]],
    quantity: str,
    *,
    logarithmic: bool,
) -> Figure:
    """Draw a row of panels for each run, one per tower, all on one scale."""
    widths = [max(LEAST_IN, STAGE_IN * len(stages)) for stages in shown.values()]
    figure = blank(sum(widths) + 1.3, 2.1 * len(rows) + 0.9)
    lines = figure.subplots(
        len(rows), len(shown), sharey=True, sharex="col", squeeze=False,
        gridspec_kw={"width_ratios": widths},
    )  # fmt: skip
    for line, (title, values) in zip(lines, rows, strict=True):
        for axis, (tower, stages) in zip(line, shown.items(), strict=True):
            _panel(axis, values, tower, stages)
            if logarithmic:
                log_scale(axis, "y")
        line[0].set_title(title, loc="left", size=9, pad=4)
    for axis, tower in zip(lines[-1], shown, strict=True):
        axis.set_xlabel(TITLES[tower])
    figure.align_xlabels()
    figure.supylabel(quantity, size=9)
    legend(figure, lines.flat)
    return figure


def _panel(axis: Axes, values: Mapping[Layer, float], tower: TowerName, stages: list[str]) -> None:
    for index, group in enumerate(GROUPS):
        points = [
            (place, value)
            for place, stage in enumerate(stages)
            if (value := values.get(Layer(tower, stage, group))) is not None
        ]
        if points:
            axis.plot(
                *zip(*points, strict=True), color=COLOURS[index], marker=MARKERS[index],
                markersize=4, linewidth=1.2, label=group,
            )  # fmt: skip
    axis.set_xlim(-0.5, len(stages) - 0.5)
    axis.set_xticks(range(len(stages)), [s.removeprefix(BLOCK) for s in stages])
    for label in axis.get_xticklabels():
        label.set(rotation=0 if label.get_text().isdigit() else 90)
    grid(axis)
