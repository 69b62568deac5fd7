"""Class by class: how often each class is recognised, and what it is taken for instead.

Shares are means over seeds, of the test images of a class. What a run predicted stands in its
`predictions.csv`; a task of which a run lacks it is left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fewtune.core.spec import ZERO_SHOT
from fewtune.reports.figures import svg
from fewtune.reports.grouping import Method
from fewtune.reports.panels import CHARACTER_IN, panels
from fewtune.reports.study_runs import Cell, Study
from fewtune.reports.summary import percent, shorten, shots_text
from fewtune.reports.tables import HOLE, ReportTable, TableCell, TableRow
from fewtune.training.run_folder import RunFolder

LARGEST = 10
MOST_CLASSES = 30
# Of a recall map, which needs no square.
MOST_NAMES = 50
NAME_CHARACTERS = 24


@dataclass(frozen=True)
class Taken:
    """What classes are taken for by a method on a task.

    Attributes:
        images: Mean number over seeds of images of one class (label) that are taken for another,
            or for itself, by the two labels; pairs that never occur are missing.
        totals: Test images of each class.
    """

    images: Mapping[tuple[int, int], float]
    totals: Mapping[int, int]

    def share(self, label: int, taken: int) -> float:
        """Return the share of a class' images; 0 for a class without images."""
        return self.images.get((label, taken), 0.0) / max(1, self.totals.get(label, 0))


@dataclass(frozen=True)
class Confusion:
    """What zero-shot and the best method on a task take each class for; None where not known."""

    names: tuple[str, ...]
    method: Method
    before: Taken | None
    after: Taken


def confusion(study: Study, task: str) -> Confusion | None:
    """Return the confusions of a task at the largest number of shots; None without predictions."""
    shots = study.shots[-1] if study.shots else None
    known = [(m, c) for m in study.tuned() if (c := study.cell(m, task, shots))]
    if not known:
        return None
    method, cell = max(known, key=lambda pair: pair[1].mean)
    after = _taken(cell)
    if after is None:
        return None
    zero_shot = next((m for m in study.methods if m.strategy == ZERO_SHOT), None)
    base = study.cell(zero_shot, task, None) if zero_shot else None
    names = tuple(cell.runs[0].record["task"]["classes"])
    return Confusion(names, method, _taken(base) if base else None, after)


def largest(study: Study, task: str, found: Confusion) -> ReportTable:
    """Return the pairs of classes that the best method confuses most."""
    wrong = [(images, *pair) for pair, images in found.after.images.items() if pair[0] != pair[1]]
    wrong.sort(key=lambda one: (-one[0], -found.after.share(*one[1:]), *one[1:]))
    rows = [
        TableRow(
            f"{found.names[label]} → {found.names[taken]}",
            tuple(
                TableCell(percent(of.share(label, taken)) if of else HOLE)
                for of in (found.before, found.after)
            ),
        )
        for _, label, taken in wrong[:LARGEST]
    ]
    header = ("class → taken for", "zero-shot", found.method.title)
    return ReportTable(
        f"confusions-{task}",
        f"Largest confusions: {task}",
        header,
        tuple(rows),
        (f"In percent of the class' test images, {shots_text(study.shots[-1])}, mean over seeds.",),
    )


def confusion_map(found: Confusion) -> str:
    """Draw what classes are taken for, zero-shot and by the best method; "" for many classes."""
    count = len(found.names)
    if count > MOST_CLASSES:
        return ""
    maps = [("Zero-shot CLIP", found.before)] if found.before else []
    shown = [*maps, (found.method.title, found.after)]
    names = [shorten(name, NAME_CHARACTERS) for name in found.names]
    side_in = max(2.2, 0.24 * count) + 0.065 * max(map(len, names))
    with panels(len(shown), panel_in=(side_in, side_in)) as (figure, axes):
        for (title, taken), axis in zip(shown, axes, strict=True):
            axis.set_title(title)
            percents = [[100 * taken.share(a, b) for b in range(count)] for a in range(count)]
            axis.imshow(percents, vmin=0, vmax=100, cmap="viridis")
            axis.set_xticks(range(count), names, rotation=60, ha="right", rotation_mode="anchor")
            axis.set_yticks(range(count), names if axis is axes[0] else [])
            axis.set_xlabel("taken for")
        image = axes[0].images[0]
        axes[0].set_ylabel("class")
        figure.colorbar(image, ax=axes, label="% of the class", shrink=0.7)
        return svg(figure)


def recalls(study: Study, task: str) -> str:
    """Draw the recall of each class by each method at the largest number of shots."""
    shots = study.shots[-1] if study.shots else None
    cells = {m.title: c for m in study.methods if (c := study.cell(m, task, shots))}
    rows = [
        [
            _mean_known(column)
            for column in zip(*(r.record["per_class"] for r in c.runs), strict=True)
        ]
        for c in cells.values()
    ]
    names = next(iter(cells.values())).runs[0].record["task"]["classes"] if cells else []
    if not names:
        return ""
    cells_in = min(9.0, max(2.4, 0.32 * len(names)))
    width_in = 1.2 + CHARACTER_IN * max(map(len, cells)) + cells_in
    with panels(1, panel_in=(width_in, 1.3 + 0.24 * len(rows))) as (figure, axes):
        axis = axes[0]
        shown = [[100 * v if v is not None else math.nan for v in row] for row in rows]
        image = axis.imshow(shown, vmin=0, vmax=100, aspect="auto", cmap="viridis")
        axis.set_yticks(range(len(cells)), list(cells))
        if len(names) <= MOST_NAMES:
            short = [shorten(name, NAME_CHARACTERS) for name in names]
            axis.set_xticks(
                range(len(names)), short, rotation=60, ha="right", rotation_mode="anchor"
            )
        else:
            axis.set_xticks([])
            axis.set_xlabel(f"{len(names)} classes, in label order")
        figure.colorbar(image, ax=axis, label="recall in %")
        return svg(figure)


def _taken(cell: Cell) -> Taken | None:
    pairs: Counter[tuple[int, int]] = Counter()
    totals: Counter[int] = Counter()
    for run in cell.runs:
        if not (run.folder / "predictions.csv").exists():
            return None
        labels, predictions = RunFolder(run.folder).predictions()
        pairs.update(zip(labels, predictions, strict=True))
        totals = Counter(labels)
    return Taken({pair: count / len(cell.runs) for pair, count in sorted(pairs.items())}, totals)


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
