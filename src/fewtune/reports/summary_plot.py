"""Summary plot of a run: what changed per class against zero-shot, and what is still confused.

Drawn at 1800 px width to be read at 1200.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewtune.core.files import write_atomic
from fewtune.core.naming import counted
from fewtune.core.percentages import percent, signed
from fewtune.reports import summary
from fewtune.reports.confusions import ANNOTATED_CLASSES, Confusions, draw_matrix
from fewtune.reports.figures import COLOURS, SOFT, TEXT, grid, style
from fewtune.reports.summary import Record, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASSES_SHOWN = 30
PAIRS_SHOWN = 20
DPI = 150
BETTER, WORSE = COLOURS[:2]


def write_summary_plot(
    path: Path,
    record: Record,
    zero_shot: Record | None,
    labels: Sequence[int],
    predictions: Sequence[int],
) -> None:
    """Write summary.png of a run: equal arguments give equal bytes.

    Args:
        zero_shot: Record of the run to compare with; None draws the confusions alone.
        labels: Class indices of the test images, (N,).
        predictions: Predicted class indices, (N,), in the same order.
    """
    with style():
        figure = _draw(record, zero_shot, Confusions.of([(labels, predictions)]))
        # Without this, the file would name the version of matplotlib.
        write_atomic(
            path,
            lambda file: figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None}),
        )


def _draw(record: Record, zero_shot: Record | None, confusions: Confusions) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = record["task"]["classes"]
    pairs = confusions.wrong()[:PAIRS_SHOWN]
    every = summary.changes(zero_shot["per_class"], record["per_class"]) if zero_shot else []
    changes = summary.largest_changes(every, CLASSES_SHOWN)
    height = max(_confusion_height(len(names), len(pairs)), 1.6 + 0.23 * len(changes))
    width = 12.0 if zero_shot else 7.5
    below_titles = (0.01, 0.01, 0.98, 0.98 - 0.72 / height)
    layout = ConstrainedLayoutEngine(rect=below_titles, wspace=0.06)
    figure = Figure((width, height), layout=layout)
    title, subtitle = _titles(record, zero_shot)
    left = 0.14 / width
    figure.text(left, 1 - 0.16 / height, title, size=12.5, weight="bold", va="top")
    figure.text(left, 1 - 0.43 / height, subtitle, color=SOFT, va="top")
    panels = figure.subplots(1, 2 if zero_shot else 1, squeeze=False)[0]
    if zero_shot:
        shown = [(names[label], change) for label, change in changes]
        _heading(panels[0], "Recall per class against zero-shot",
                 _counts(every, len(changes), len(names)))  # fmt: skip
        _draw_changes(panels[0], shown)
    if len(names) <= CLASSES_SHOWN:
        _heading(panels[-1], "Confusion",
                 "rows: true class, columns: prediction, % of the class's images")  # fmt: skip
        mesh = draw_matrix(panels[-1], names, confusions)
        panels[-1].set_anchor("N")
        if len(names) > ANNOTATED_CLASSES:
            figure.colorbar(mesh, cax=panels[-1].inset_axes((1.03, 0.6, 0.022, 0.4)))
    else:
        _heading(panels[-1], "Most frequent confusions",
                 "true class → prediction, in images of the class")  # fmt: skip
        _draw_pairs(panels[-1], names, confusions, pairs)
    return figure


def _confusion_height(classes: int, pairs: int) -> float:
    if classes > CLASSES_SHOWN:
        return 1.6 + 0.23 * max(10, pairs)
    return 4.0 if classes <= 3 else 6.2 if classes <= ANNOTATED_CLASSES else 7.4


def _titles(record: Record, zero_shot: Record | None) -> tuple[str, str]:
    spec, top1 = record["spec"], record["metrics"]["top1"]
    title = f"{summary.strategy_of(record).title} on {shorten(spec['task'], 30)}: "
    title += f"{percent(top1)} % top-1"
    if zero_shot:
        before = zero_shot["metrics"]["top1"]
        title += f", zero-shot {percent(before)} % ({signed(top1 - before)})"
    parts = [shorten(Path(spec["backbone"]).name, 40)]
    if spec["recipe"]:
        parts += [summary.shots_text(spec["shots"]), f"seed {spec['seed']}"]
    parts.append(counted(record["task"]["images"]["test"], "test image"))
    if summary.steps_scale(record) != 1:
        parts.append(f"training length × {summary.steps_scale(record):.3g}")
    return title, "  ·  ".join(parts)


def _counts(every: Sequence[tuple[int, float]], shown: int, classes: int) -> str:
    """Return how many classes are better, worse, equal, and without test images."""
    better = sum(change > 0 for _, change in every)
    worse = sum(change < 0 for _, change in every)
    words = f"{better:,} better, {worse:,} worse, {len(every) - better - worse:,} equal"
    if missing := classes - len(every):
        words += f", {missing:,} without test images"
    if shown < len(every):
        words += f"; the {shown} largest changes are shown"
    return words


def _heading(axis: Axes, title: str, words: str) -> None:
    axis.set_title(f"{title}\n", loc="left", weight="bold", pad=8)
    line = axis.annotate(
        words, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", size=8,
        color=SOFT, va="bottom",
    )  # fmt: skip
    line.set_in_layout(False)  # a long line must not narrow the panel


def _draw_changes(axis: Axes, changes: Sequence[tuple[str, float]]) -> None:
    values = [100 * change for _, change in changes]
    colours = [BETTER if value > 0 else WORSE for value in values]
    texts = [signed(change) for _, change in changes]
    _bars(axis, [shorten(name, 26) for name, _ in changes], values, texts, colours)
    if changes:
        axis.axvline(0, color=TEXT, linewidth=0.8)
        axis.set_ylim(max(len(changes), 4) - 0.4, -0.6)
        axis.set_xlabel("percentage points")
    else:
        _say(axis, "No class changed.")


def _draw_pairs(
    axis: Axes, names: Sequence[str], confusions: Confusions, pairs: Sequence[tuple[int, int]]
) -> None:
    counts = [confusions.images[pair] for pair in pairs]
    texts = [f"{confusions.images[a, b]:g} of {confusions.totals[a]}" for a, b in pairs]
    arrows = [f"{shorten(names[a], 20)} → {shorten(names[b], 20)}" for a, b in pairs]
    _bars(axis, arrows, counts, texts, [WORSE] * len(pairs))
    if pairs:
        axis.set_ylim(max(len(pairs), 10) - 0.4, -0.6)
        axis.locator_params(axis="x", integer=True)
        axis.set_xlabel("images")
    else:
        _say(axis, "Every test image is recognised.")


def _bars(
    axis: Axes,
    names: Sequence[str],
    values: Sequence[float],
    texts: Sequence[str],
    colours: Sequence[str],
) -> None:
    """Draw a bar for each name, with a text at its end, the first one on top."""
    bars = axis.barh(range(len(values)), values, 0.68, color=colours)
    axis.bar_label(bars, texts, padding=4, size=8)
    axis.set_yticks(range(len(values)), names)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.margins(x=0.17)  # room for the texts
    grid(axis, "x")


def _say(axis: Axes, words: str) -> None:
    axis.set_xticks([])
    axis.text(0.5, 0.5, words, ha="center", va="center", color=SOFT, transform=axis.transAxes)
