"""Class by class: how often each class is recognised, and what it is taken for instead.

Shares are means over seeds, of the test images of a class. What a run predicted stands in its
`predictions.csv`; a task with a run that lacks it is left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fewtune.core.errors import FewTuneError
from fewtune.core.spec import ZERO_SHOT
from fewtune.reports.confusions import ANNOTATED_CLASSES, Confusions, draw_matrix
from fewtune.reports.figures import CHARACTER_IN, panels, svg
from fewtune.reports.grouping import Method
from fewtune.reports.study_runs import Cell, Study
from fewtune.reports.summary import shorten, shots_text
from fewtune.reports.tables import ReportTable, TableRow, as_cell
from fewtune.training.run_folder import RunFolder

LARGEST = 10
MOST_CLASSES = 30  # of a matrix
MOST_NAMES = 50  # of a recall map, which needs no square
NAME_CHARACTERS = 24


@dataclass(frozen=True)
class TaskConfusions:
    """What zero-shot and the best method on a task take each class for; None where not known."""

    names: tuple[str, ...]
    method: Method
    before: Confusions | None
    after: Confusions


def confusions_on(study: Study, task: str) -> TaskConfusions | None:
    """Return the confusions of a task at the main number of shots; None without predictions."""
    found = study.best(task)
    if found is None:
        return None
    method, best = found
    after = _confusions(best)
    if after is None:
        return None
    zero_shot = next((m for m in study.methods if m.strategy == ZERO_SHOT), None)
    base = study.cell(zero_shot, task, None) if zero_shot else None
    names = tuple(best.runs[0].record["task"]["classes"])
    return TaskConfusions(names, method, _confusions(base) if base else None, after)


def _confusions(of: Cell) -> Confusions | None:
    if not all((run.folder / "predictions.csv").exists() for run in of.runs):
        return None
    try:
        return Confusions.of(RunFolder(run.folder).predictions() for run in of.runs)
    except FewTuneError:  # a damaged file of one run is not to stop the report of all
        return None


def largest(study: Study, task: str, found: TaskConfusions) -> ReportTable:
    """Return the pairs of classes that the best method confuses most."""
    shots = shots_text(study.main_shots)
    rows = [
        TableRow(
            " → ".join(found.names[label] for label in pair),
            tuple(as_cell(of.share(*pair) if of else None) for of in (found.before, found.after)),
        )
        for pair in found.after.wrong()[:LARGEST]
    ]
    return ReportTable(
        f"confusions-{task}",
        f"Largest confusions: {task}",
        ("class → taken for", "zero-shot", found.method.title),
        tuple(rows),
        (f"In percent of the class' test images, {shots}, mean over seeds.",),
    )


def matrices(found: TaskConfusions) -> str:
    """Draw what classes are taken for, zero-shot and by the best method; "" for many classes."""
    count = len(found.names)
    if count > MOST_CLASSES:
        return ""
    before = [("Zero-shot CLIP", found.before)] if found.before else []
    shown = [*before, (found.method.title, found.after)]
    side_in = 1.2 + max(2.2, 0.26 * count)
    with panels(len(shown), panel_in=(side_in, side_in)) as (figure, axes):
        for (title, of), axis in zip(shown, axes, strict=True):
            axis.set_title(title)
            mesh = draw_matrix(axis, found.names, of, named_rows=axis is axes[0])
            axis.set_xlabel("taken for")
        axes[0].set_ylabel("class")
        if count > ANNOTATED_CLASSES:
            figure.colorbar(mesh, ax=axes, label="% of the class", shrink=0.7)
        return svg(figure)


def recalls(study: Study, task: str) -> str:
    """Draw the recall of each class by each method at the main number of shots."""
    shots = study.main_shots
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
        image = axis.imshow(rows, vmin=0, vmax=100, aspect="auto", cmap="viridis")
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


def _mean_known(recalls: Sequence[float | None]) -> float:
    """Return the mean of the known recalls in percent; NaN if there is none."""
    known = [recall for recall in recalls if recall is not None]
    return 100 * sum(known) / len(known) if known else math.nan
