"""Panels of a figure: their grid, labels and legend, and the look of a method in all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from fewtune.reports.figures import COLOURS, MARKERS, blank, grid, style, subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
PANEL_IN = (3.3, 2.6)
CHARACTER_IN = 0.075
LEGEND_LINE_IN = 0.2
LINES = ("-", "-.", ":")  # of the first eight methods, of the next; zero-shot is dashed


@contextmanager
def panels(
    count: int, columns: int = COLUMNS, panel_in: tuple[float, float] = PANEL_IN
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give a figure with `count` panels, each of `panel_in` inches, in our style."""
    with style():
        columns = min(columns, count)
        lines = math.ceil(count / columns)
        figure = blank(panel_in[0] * columns, panel_in[1] * lines + 0.5)
        yield figure, subplots(figure, count, columns)


def look(index: int, *, line: bool = False, hollow: bool = False) -> dict[str, Any]:
    """Return how the method with this index is drawn: no two of 64 look alike."""
    turn, colour = divmod(index, len(COLOURS))
    found: dict[str, Any] = {
        "color": COLOURS[colour],
        "marker": MARKERS[(index + turn) % len(MARKERS)],
        "markersize": 5,
        "linestyle": LINES[turn % len(LINES)] if line else "none",
    }
    if hollow:
        found["markerfacecolor"] = "none"
    return found | ({"linewidth": 1.6, "capsize": 2, "elinewidth": 0.9} if line else {})


def label(axes: Sequence[Axes], x: str, y: str, *, share_y: bool = False) -> None:
    """Name the axes of all panels; those of a line share the names on the left."""
    for index, axis in enumerate(axes):
        axis.set_xlabel(x if index + COLUMNS >= len(axes) else "")
        grid(axis, "x" if share_y else "y")
        if index % COLUMNS == 0:
            axis.set_ylabel(y)
        elif share_y:
            axis.set_yticklabels([])


def legend(figure: Figure, axes: Iterable[Axes], **look: Any) -> None:
    """Put what any panel shows below the figure, each once, in as many columns as fit."""
    shown: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        shown |= {text: handle for text, handle in zip(labels, handles, strict=True)}
    if not shown:
        return
    width_in, height_in = figure.get_size_inches()
    widest_in = 0.55 + CHARACTER_IN * max(map(len, shown))
    columns = max(1, min(len(shown), int(width_in / widest_in)))
    lines = math.ceil(len(shown) / columns)
    figure.set_size_inches(width_in, height_in + LEGEND_LINE_IN * (lines - 1))
    place = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    figure.legend(shown.values(), shown.keys(), **place, **look)


def log_scale(axis: Axes, along: Literal["x", "y"] = "x") -> None:
    """Put data that is drawn already on a logarithmic scale with short numbers: "20k"."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set(**{f"{along}scale": "log"})
    scale = axis.xaxis if along == "x" else axis.yaxis
    low, high = scale.get_view_interval()
    decades = math.log10(high / low)
    named = (1, 2, 5) if decades < 2 else (1, 3) if decades < 4 else (1,)
    scale.set_major_locator(LogLocator(subs=named))
    scale.set_minor_locator(NullLocator())
    scale.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    if along == "x":
        axis.margins(0.15)


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
