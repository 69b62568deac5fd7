"""Tables of a study, and the same table as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Literal

from fewtune.bench.published import Score, scores
from fewtune.bench.results import LINEAR_PROBE, Cell, Method, Run, Study
from fewtune.core.spec import ZERO_SHOT
from fewtune.engine.outcome import doubts, percent, shots_text, signed

Mark = Literal["", "best", "second"]
HOLE = "–"


@dataclass(frozen=True)
class Entry:
    """A cell as it is shown."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class Table:
    """A table that can be written in any format.

    Attributes:
        name: Part of file names.
        header: Column titles; the first is that of the row titles.
        rows: Row title, then an entry for each further column.
        notes: What stands below it.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]
    notes: tuple[str, ...] = ()


def accuracy(study: Study, shots: int | None) -> Table:
    """Top-1 of every method on every task: mean and sample deviation over seeds, zero-shot first.

    The last column is the mean over tasks; a method with a hole has none.
    """
    methods = [m for m in study.methods if any(study.cell(m, t, shots) for t in study.tasks)]
    columns = [_marked([study.cell(m, task, shots) for m in methods]) for task in study.tasks]
    if len(study.tasks) > 1:
        columns.append(_ranked([study.average(m, shots) for m in methods], percent))
    header = ("", *study.tasks, *(("average",) if len(study.tasks) > 1 else ()))
    rows = []
    sources: list[str] = []
    for index, method in enumerate(methods):
        rows.append((title_of(method), tuple(column[index] for column in columns)))
        known = [_published(study, method, task, shots) for task in study.tasks]
        if any(known):
            entries = [Entry(score.text() if score else HOLE) for score in known]
            entries += [Entry(HOLE)] * (len(columns) - len(known))
            rows.append((f"{method.label}, published", tuple(entries)))
            sources += [score.source for score in known if score]
            sources += _differences(study, method, shots, known)
    seeds = {len(cell.runs) for m in methods if (cell := study.cell(m, study.tasks[0], shots))}
    notes = ["Top-1 in percent; ± is the sample standard deviation over seeds."]
    if len(seeds - {1}) > 1:
        notes.append("Cells differ in their number of seeds.")
    name = f"accuracy-{'all' if shots is None else shots}"
    title = f"Accuracy, {shots_text(shots)}"
    unsure = [
        d for m in methods for task in study.tasks for d in _doubts(study.cell(m, task, shots))
    ]
    notes += [*_scaled(methods), *dict.fromkeys(sources), *(f"† {d}." for d in unsure)]
    return Table(name, title, header, tuple(rows), tuple(notes))


def gains(study: Study, groups: Mapping[str, str]) -> Table:
    """Mean gain over zero-shot and over the linear probe, by group of tasks, method and shots.

    Args:
        groups: Group of each task ("natural"); tasks without one are "own".
    """
    names = sorted({groups.get(task, "own") for task in study.tasks})
    tasks = {name: [t for t in study.tasks if groups.get(t, "own") == name] for name in names}
    probe = next((m for m in reversed(study.methods) if m.strategy == LINEAR_PROBE), None)
    rows = []
    for method in study.tuned():
        for shots in study.shots:
            entries = []
            for name in names:
                over_zero = [study.gain(method, t, shots) for t in tasks[name]]
                over_probe = [_over(study, method, probe, t, shots) for t in tasks[name]]
                entries += [_mean_gain(over_zero), _mean_gain(over_probe)]
            if any(entry.text != HOLE for entry in entries):
                title = f"{title_of(method)}, {method.modality}, {shots_text(shots)}"
                rows.append((title, tuple(entries)))
    header = ("", *(f"{n}: over {b}" for n in names for b in ("zero-shot", "linear probe")))
    note = "Mean difference of top-1 in percentage points over the group's tasks."
    return Table("gains", "Gain by group of tasks", header, tuple(rows), (note,))


def efficiency(study: Study) -> Table:
    """Trained parameters, minutes of training and peak memory beside accuracy.

    Means over all tasks and seeds at the largest number of shots.
    """
    shots = study.shots[-1] if study.shots else None
    rows = []
    for method in study.tuned():
        runs = study.runs(method, shots)
        if not runs:
            continue
        costs = [run.record["cost"] for run in runs]
        rows.append(
            (
                title_of(method),
                (
                    Entry(f"{mean(cost['trained_parameters'] for cost in costs):,.0f}"),
                    Entry(f"{mean(cost['training_s'] for cost in costs) / 60:.2f}"),
                    Entry(f"{mean(cost['peak_memory_mib'] for cost in costs):,.0f}"),
                    Entry(percent(mean(run.top1 for run in runs))),
                ),
            )
        )
    header = ("", "trained parameters", "minutes", "peak MiB", "top-1")
    note = f"Means over tasks and seeds, {shots_text(shots)}; times are of the machines that ran."
    return Table("efficiency", "Efficiency", header, tuple(rows), (note,))


def retention(study: Study) -> Table:
    """Change of zero-shot accuracy on the other tasks, by the task that was tuned on.

    Means over seeds, other tasks and shots; methods that cannot meet other classes have holes.
    """
    rows = []
    for method in study.tuned():
        entries, every = [], []
        for task in study.tasks:
            cells = [study.cell(method, task, shots) for shots in study.shots]
            changes = [change for cell in cells if cell for change in cell.changes_elsewhere]
            every += changes
            entries.append(Entry(signed(mean(changes))) if changes else Entry(HOLE))
        if every:
            rows.append((title_of(method), (*entries, Entry(signed(mean(every))))))
    header = ("tuned on", *study.tasks, "average")
    note = "Change of top-1 on the other tasks in points: their classes, their prompts, no training"
    return Table("retention", "Retention", header, tuple(rows), (f"{note}.",))


def runs_csv(runs: Sequence[Run]) -> str:
    """Return a line for each run: spec, metrics, cost."""
    columns: list[tuple[str, Callable[[Run], object]]] = [
        ("folder", lambda run: run.folder.name),
        *((n, lambda run, n=n: run.spec[n]) for n in ("strategy", "task", "backbone", "shots")),
        *((n, lambda run, n=n: run.spec[n]) for n in ("seed", "precision", "templates")),
        ("type", lambda run: run.spec["options"].get("type", "")),
        ("steps_scale", lambda run: run.record["plan"]["steps_scale"]),
        *((n, lambda run, n=n: run.record["metrics"][n]) for n in ("top1", "top5", "recall", "f1")),
        ("calibration_error", lambda run: run.record["metrics"]["calibration_error"]),
        *((n, lambda run, n=n: run.record["cost"][n]) for n in ("trained_parameters", "steps")),
        *((n, lambda run, n=n: run.record["cost"][n]) for n in ("training_s", "peak_memory_mib")),
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    for run in runs:
        writer.writerow([value(run) for _, value in columns])
    return text.getvalue()


def markdown(table: Table) -> str:
    """Return the table as GitHub Markdown: best bold, second in italics."""
    styles = {"": "{}", "best": "**{}**", "second": "*{}*"}
    lines = [
        f"### {table.title}",
        "",
        f"| {' | '.join(map(_pipe, table.header))} |",
        f"| --- |{' ---: |' * (len(table.header) - 1)}",
        *(
            f"| {_pipe(title)} | {' | '.join(styles[e.mark].format(e.text) for e in entries)} |"
            for title, entries in table.rows
        ),
        "",
        *table.notes,
    ]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    """Return the table as LaTeX with booktabs: best bold, second underlined."""
    styles = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}
    rows = [
        " & ".join([_tex(title), *(styles[e.mark].format(_tex(e.text)) for e in entries)]) + r" \\"
        for title, entries in table.rows
    ]
    return "\n".join(
        [
            f"% {table.title}. {' '.join(table.notes)}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            " & ".join(map(_tex, table.header)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def title_of(method: Method) -> str:
    """Return a row's title: its label, and how much of its recipe it was trained for."""
    scale = f" ×{method.steps_scale:.2g} steps" if method.steps_scale != 1 else ""
    return method.label + scale


def _scaled(methods: Sequence[Method]) -> tuple[str, ...]:
    if all(method.steps_scale == 1 for method in methods):
        return ()
    return ("× steps: trained for this share of the recipe's length, so not the full method.",)


def _published(study: Study, method: Method, task: str, shots: int | None) -> Score | None:
    """Return what was published for a row at its recipe's full length."""
    if method.steps_scale != 1:
        return None
    shots = None if method.strategy == ZERO_SHOT else shots
    return scores().get((method.strategy, study.backbone, task, shots))


def _differences(
    study: Study, method: Method, shots: int | None, known: Sequence[Score | None]
) -> list[str]:
    """Return a sentence for each of our scores that is further off than a faithful run's."""
    found = []
    for task, score in zip(study.tasks, known, strict=True):
        cell = study.cell(method, task, shots)
        if cell and score and not score.agrees(cell.mean):
            found.append(
                f"Differs: {method.label} on {task} has {percent(cell.mean)}, published "
                f"{score.text()}."
            )
    return found


def _marked(cells: Sequence[Cell | None]) -> list[Entry]:
    entries = _ranked([cell.mean if cell else None for cell in cells], percent)
    return [
        Entry(entry.text + _spread(cell) + (" †" if _doubts(cell) else ""), entry.mark)
        for cell, entry in zip(cells, entries, strict=True)
    ]


def _spread(cell: Cell | None) -> str:
    return f" ± {percent(cell.spread)}" if cell and cell.spread is not None else ""


def _doubts(cell: Cell | None) -> tuple[str, ...]:
    """Return what throws doubt on a zero-shot cell."""
    zero_shot = cell is not None and cell.runs[0].spec["strategy"] == ZERO_SHOT
    return doubts(cell.runs[0].record) if cell and zero_shot else ()


def _ranked(values: Sequence[float | None], show: Callable[[float], str]) -> list[Entry]:
    """Return the values with the best and the second marked, by what is shown of them."""
    texts = [None if value is None else show(value) for value in values]
    ranks = sorted({float(text) for text in texts if text is not None}, reverse=True)
    marks: dict[str, Mark] = {}
    for rank, mark in zip(ranks[:2], ("best", "second"), strict=False):
        marks |= {text: mark for text in texts if text and float(text) == rank}  # type: ignore[misc]
    return [Entry(HOLE) if t is None else Entry(t, marks.get(t, "")) for t in texts]


def _over(
    study: Study, method: Method, other: Method | None, task: str, shots: int | None
) -> float | None:
    if other is None or method == other:
        return None
    own, its = study.cell(method, task, shots), study.cell(other, task, shots)
    return own.mean - its.mean if own and its else None


def _mean_gain(values: Sequence[float | None]) -> Entry:
    known = [value for value in values if value is not None]
    return Entry(signed(mean(known))) if len(known) == len(values) else Entry(HOLE)


def _pipe(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _tex(text: str) -> str:
    special = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "±": r"$\pm$"}
    special |= {"×": r"$\times$", "−": "$-$", "–": "--", "~": r"\textasciitilde{}"}
    return "".join(special.get(character, character) for character in text)
