"""The picture of a run: what changed per class against zero-shot, and what is still confused.

Drawn at 1800 px width to be read at 1200. Blue and vermilion are told apart with every common
form of colour blindness (Okabe and Ito, 2008).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fewtune.core.files import write_atomic
from fewtune.reports import summary
from fewtune.reports.summary import Record

CLASSES_SHOWN = 30
PAIRS_SHOWN = 20
ANNOTATED_CLASSES = 12
DPI = 150
BLUE, VERMILION, INK, GREY, PALE = "#0072b2", "#d55e00", "#1a1a1a", "#6b6b6b", "#ececec"
# matplotlib's own font first; then fonts with the scripts that it lacks, where installed.
FONTS = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Arial Unicode MS",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Micro Hei",
)


def write_picture(
    path: Path,
    record: Record,
    zero_shot: Record | None,
    labels: Sequence[int],
    predictions: Sequence[int],
) -> None:
    """Write summary.png of a run: equal arguments give equal bytes.

    Args:
        path: The PNG file.
        record: Record of the run.
        zero_shot: Record of the run to compare with; None draws the confusions alone.
        labels: Class indices of the test images.
        predictions: Predicted class indices, in the same order.
    """
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_style())
        # A class name in a script that no installed font has is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = _draw(record, zero_shot, labels, predictions)
        # Without this, the file would name the version of matplotlib.
        write_atomic(
            path,
            lambda file: figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None}),
        )


def _style() -> dict[str, Any]:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return {
        "font.family": [name for name in FONTS if name in installed],
        "font.size": 9, "text.color": INK, "axes.labelcolor": GREY, "axes.titlesize": 10,
        "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.titlepad": 8,
        "axes.edgecolor": "#bdbdbd", "axes.linewidth": 0.8, "xtick.color": GREY,
        "ytick.color": INK, "xtick.labelsize": 8, "ytick.labelsize": 8.5,
        "xtick.major.size": 0, "ytick.major.size": 0, "text.parse_math": False,
    }  # fmt: skip


def _draw(
    record: Record, zero_shot: Record | None, labels: Sequence[int], predictions: Sequence[int]
) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = record["task"]["classes"]
    changes = _changes(record, zero_shot)
    pairs = summary.confusions(labels, predictions)[:PAIRS_SHOWN]
    matrix = len(names) <= CLASSES_SHOWN
    height = max(_confusion_height(len(names), len(pairs)), 1.6 + 0.23 * len(changes))
    width = 12.0 if zero_shot else 7.5
    below_titles = (0.01, 0.01, 0.98, 0.98 - 0.72 / height)
    layout = ConstrainedLayoutEngine(rect=below_titles, wspace=0.06)
    figure = Figure((width, height), layout=layout)
    title, subtitle = _titles(record, zero_shot)
    left = 0.14 / width
    figure.text(left, 1 - 0.16 / height, title, size=12.5, weight="bold", va="top")
    figure.text(left, 1 - 0.43 / height, subtitle, size=9, color=GREY, va="top")
    panels = figure.subplots(1, 2 if zero_shot else 1, squeeze=False)[0]
    if zero_shot:
        _draw_changes(panels[0], names, changes, _changes_title(record, zero_shot, changes))
    if matrix:
        _draw_matrix(panels[-1], names, labels, predictions)
    else:
        _draw_pairs(panels[-1], names, pairs)
    return figure


def _confusion_height(classes: int, pairs: int) -> float:
    if classes > CLASSES_SHOWN:
        return 1.6 + 0.23 * max(10, pairs)
    return 4.0 if classes <= 3 else 6.2 if classes <= ANNOTATED_CLASSES else 7.4


def _changes(record: Record, zero_shot: Record | None) -> list[tuple[int, float]]:
    if zero_shot is None:
        return []
    ordered = summary.changes(zero_shot["per_class"], record["per_class"])
    return summary.largest_changes(ordered, CLASSES_SHOWN)


def _titles(record: Record, zero_shot: Record | None) -> tuple[str, str]:
    spec, top1 = record["spec"], record["metrics"]["top1"]
    title = f"{summary.strategy_of(record).title} on {summary.shorten(spec['task'], 30)}: "
    title += f"{summary.percent(top1)} % top-1"
    if zero_shot:
        before = zero_shot["metrics"]["top1"]
        title += f", zero-shot {summary.percent(before)} % ({summary.signed(top1 - before)})"
    parts = [summary.shorten(Path(spec["backbone"]).name, 40)]
    if spec["recipe"]:
        parts += [summary.shots_text(spec["shots"]), f"seed {spec['seed']}"]
    parts.append(f"{record['task']['images']['test']:,} test images")
    if summary.steps_scale(record) != 1:
        parts.append(f"training length × {summary.steps_scale(record):.3g}")
    return title, "  ·  ".join(parts)


def _changes_title(
    record: Record, zero_shot: Record, shown: list[tuple[int, float]]
) -> tuple[str, str]:
    every = summary.changes(zero_shot["per_class"], record["per_class"])
    better = sum(change > 0 for _, change in every)
    worse = sum(change < 0 for _, change in every)
    words = f"{better:,} better, {worse:,} worse, {len(every) - better - worse:,} equal"
    if missing := len(record["per_class"]) - len(every):
        words += f", {missing:,} without test images"
    if len(shown) < len(every):
        words += f"; the {len(shown)} largest changes are shown"
    return "Recall per class against zero-shot", words


def _heading(axes: Any, title: str, words: str) -> None:
    axes.set_title(f"{title}\n")
    line = axes.annotate(
        words, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", size=8,
        color=GREY, va="bottom",
    )  # fmt: skip
    line.set_in_layout(False)  # a long line must not narrow the panel


def _draw_changes(
    axes: Any, names: Sequence[str], changes: list[tuple[int, float]], heading: tuple[str, str]
) -> None:
    _heading(axes, *heading)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    if not changes:
        _say(axes, "No class changed.")
        return
    values = [100 * change for _, change in changes]
    places = range(len(changes))
    axes.barh(places, values, 0.68, color=[BLUE if v > 0 else VERMILION for v in values])
    axes.axvline(0, color=GREY, lw=0.8)
    for place, (_, change) in enumerate(changes):
        right = change >= 0
        axes.annotate(
            summary.signed(change), (100 * change, place), (4 if right else -4, 0),
            textcoords="offset points", ha="left" if right else "right", va="center", size=8,
        )  # fmt: skip
    axes.set_yticks(places, [summary.shorten(names[label], 26) for label, _ in changes])
    axes.set_ylim(max(len(changes), 4) - 0.4, -0.6)
    least, most = min(0.0, *values), max(0.0, *values)
    # Room beside the longest bars for their numbers.
    room = 0.17 * max(1.0, most - least)
    axes.set_xlim(least - (room if least else room / 4), most + (room if most else room / 4))
    axes.set_xlabel("percentage points")
    axes.grid(axis="x", color=PALE, lw=0.8)
    axes.set_axisbelow(True)


def _draw_matrix(
    axes: Any, names: Sequence[str], labels: Sequence[int], predictions: Sequence[int]
) -> None:
    from matplotlib import colormaps

    count = len(names)
    matrix = np.zeros((count, count))
    np.add.at(matrix, (np.asarray(labels, int), np.asarray(predictions, int)), 1)
    images = matrix.sum(1, keepdims=True)
    shares = np.divide(100 * matrix, images, out=np.full_like(matrix, np.nan), where=images > 0)
    colours = colormaps["Blues"].with_extremes(bad=PALE)
    edges = np.arange(count + 1) - 0.5
    image = axes.pcolormesh(
        edges, edges, shares, cmap=colours, vmin=0, vmax=100, edgecolors="white", lw=0.8
    )
    axes.set_aspect("equal")
    axes.invert_yaxis()
    _heading(axes, "Confusion", "rows: true class, columns: prediction, % of the class's images")
    ticks = [summary.shorten(name, 18) for name in names]
    axes.set_yticks(range(count), ticks)
    axes.set_xticks(range(count), ticks, color=INK)
    if count > 3:
        axes.tick_params(axis="x", rotation=45 if count <= ANNOTATED_CLASSES else 90)
    if 3 < count <= ANNOTATED_CLASSES:
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.spines[:].set_visible(False)
    axes.set_anchor("N")
    if count <= ANNOTATED_CLASSES:
        for (row, column), share in np.ndenumerate(shares):
            if share > 0:
                ink = "white" if share > 55 else INK
                axes.text(column, row, f"{share:.0f}", ha="center", va="center", size=8, color=ink)
    else:
        place = axes.inset_axes((1.03, 0.6, 0.022, 0.4))
        bar = axes.figure.colorbar(image, cax=place)
        bar.outline.set_visible(False)


def _draw_pairs(axes: Any, names: Sequence[str], pairs: list[summary.ConfusedPair]) -> None:
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    _heading(axes, "Most frequent confusions", "true class → prediction, in images of the class")
    if not pairs:
        _say(axes, "Every test image is recognised.")
        return
    counts = [pair.count for pair in pairs]
    axes.barh(range(len(pairs)), counts, 0.68, color=VERMILION)
    for place, pair in enumerate(pairs):
        axes.annotate(
            f"{pair.count} of {pair.of}", (pair.count, place), (4, 0),
            textcoords="offset points", va="center", size=8,
        )  # fmt: skip
    arrows = (
        f"{summary.shorten(names[p.label], 20)} → {summary.shorten(names[p.prediction], 20)}"
        for p in pairs
    )
    axes.set_yticks(range(len(pairs)), list(arrows))
    axes.set_ylim(max(len(pairs), 10) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * max(counts))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("images")
    axes.grid(axis="x", color=PALE, lw=0.8)
    axes.set_axisbelow(True)


def _say(axes: Any, words: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, words, ha="center", va="center", color=GREY, transform=axes.transAxes)
