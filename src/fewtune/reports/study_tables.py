"""The tables of a study: accuracy, gain, efficiency and retention, zero-shot first.

The numbers of papers stand beside ours, marked as published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import mean

from fewtune.core.spec import ZERO_SHOT
from fewtune.reports.grouping import LINEAR_PROBE, Method
from fewtune.reports.published_scores import TOLERANCE, PublishedPlace, PublishedScore, published
from fewtune.reports.study_runs import Cell, Run, Study
from fewtune.reports.summary import doubts, percent, shots_text, signed
from fewtune.reports.tables import (
    DIFFERS,
    HOLE,
    ReportTable,
    TableCell,
    TableRow,
    csv_text,
    ranked,
    with_spread,
)
from fewtune.sweeps.retention import Kept

VISION, VISION_LANGUAGE = "vision", "vision-language"
OWN = "own"


def accuracy(study: Study, shots: int | None, tolerance: float = TOLERANCE) -> ReportTable:
    """Top-1 of every method on every task: mean and sample deviation over seeds, zero-shot first.

    After the tasks come their mean, which a method with a hole does not have, and, where it was
    measured, the mean change on the other tasks.

    Args:
        tolerance: How far a score may be from a published one, in [0, 1].
    """
    methods = [m for m in study.methods if any(study.of(m, shots))]
    several = len(study.tasks) > 1
    columns = [_marked([study.cell(m, task, shots) for m in methods]) for task in study.tasks]
    if several:
        columns.append(ranked([study.average(m, shots) for m in methods], percent))
    header = ("", *study.tasks, *(("average",) if several else ()))
    kept = [[k for cell in study.of(m, shots) if cell for k in cell.kept] for m in methods]
    if any(kept):
        columns.append([_change(of) for of in kept])
        header = (*header, "on other tasks")
    rows, differences = [], []
    sources: dict[str, None] = {}
    for index, method in enumerate(methods):
        entries = [column[index] for column in columns]
        known = _published(study, method, shots)
        for column, (ours, score) in enumerate(known):
            if score is None:
                continue
            sources[score.source] = None
            if ours is not None and not score.agrees(ours, tolerance):
                entries[column] = TableCell(entries[column].text + DIFFERS, entries[column].mark)
                differences.append(difference(method.label, header[column + 1], ours, score, shots))
        rows.append(TableRow(method.title, tuple(entries)))
        if any(score for _, score in known):
            theirs = [TableCell(score.text() if score else HOLE) for _, score in known]
            theirs += [TableCell(HOLE)] * (len(columns) - len(theirs))
            rows.append(TableRow(f"{method.label}, published", tuple(theirs), published=True))
    return ReportTable(
        f"accuracy-{'all' if shots is None else shots}",
        f"Accuracy, {shots_text(shots)}{study.length}",
        header,
        tuple(rows),
        (*_conditions(study, methods, shots, kept=any(kept)), *published_note(sources)),
        tuple(differences),
    )


def difference(who: str, where: str, ours: float, score: PublishedScore, shots: int | None) -> str:
    """Return a sentence on a score that is further off than a faithful run's would be."""
    drawn = "" if who.startswith("Zero-shot") else f" with {shots_text(shots)}"
    return f"{who} on {where}{drawn}: {percent(ours)} here, {score.text()} published."


def published_note(sources: Sequence[str] | Mapping[str, None]) -> tuple[str, ...]:
    """Return where published numbers are from."""
    return (f"Published: {'; '.join(sources)}.",) if sources else ()


def gains(study: Study, groups: Mapping[str, str], shots: int | None) -> ReportTable:
    """Mean gain over zero-shot and over the linear probe, by group of tasks and method.

    Args:
        groups: Group of each task ("natural"); tasks without one are "own".
    """
    tasks = by_group(study, groups)
    probe = next((m for m in reversed(study.methods) if m.strategy == LINEAR_PROBE), None)
    methods = [m for m in study.tuned() if any(study.of(m, shots))]
    columns = [[TableCell(method.modality) for method in methods]]
    for of_group in tasks.values():
        over_zero = [[study.gain(m, t, shots) for t in of_group] for m in methods]
        over_probe = [[_over(study, m, probe, t, shots) for t in of_group] for m in methods]
        columns += [ranked([_mean(row) for row in of], signed) for of in (over_zero, over_probe)]
    pairs = (f"{name}: over {base}" for name in tasks for base in ("zero-shot", "linear probe"))
    return ReportTable(
        f"gains-{'all' if shots is None else shots}",
        f"Gain by group of tasks, strategy and modality, {shots_text(shots)}{study.length}",
        ("", "modality", *pairs),
        tuple(TableRow(m.title, tuple(c[i] for c in columns)) for i, m in enumerate(methods)),
        (
            f"Mean difference of top-1 in points over the group's tasks: {_sizes(tasks)}.",
            "Modality: decided by similarity to class prompts (vision-language), or by a trained "
            "linear head (vision).",
        ),
    )


def modalities(study: Study, groups: Mapping[str, str]) -> ReportTable:
    """Mean gain over zero-shot in either modality, of strategies that were run in both."""
    tasks = by_group(study, groups)
    kin = {(m.kin, m.modality): m for m in study.tuned()}
    rows = []
    for (key, modality), method in kin.items():
        twin = kin.get((key, VISION_LANGUAGE))
        if modality != VISION or twin is None:
            continue
        for shots in study.shots:
            entries: list[TableCell] = []
            for of_group in tasks.values():
                pairs = [
                    (study.gain(twin, t, shots), study.gain(method, t, shots)) for t in of_group
                ]
                known = [(a, b) for a, b in pairs if a is not None and b is not None]
                if len(known) < len(pairs):
                    entries += [TableCell(HOLE)] * 3
                    continue
                words, head = (mean(column) for column in zip(*known, strict=True))
                entries += [TableCell(signed(v)) for v in (words, head, words - head)]
            if any(entry.text != HOLE for entry in entries):
                rows.append(
                    TableRow(_without_type(method.title), (TableCell(_short(shots)), *entries))
                )
    names = (f"{n}: {of}" for n in tasks for of in (VISION_LANGUAGE, VISION, "difference"))
    return ReportTable(
        "modalities",
        f"Class prompts or a linear head{study.length}",
        ("", "shots", *names),
        tuple(rows),
        (f"Mean gain over zero-shot in percentage points: {_sizes(tasks)}.",),
    )


def efficiency(study: Study) -> ReportTable:
    """Trained parameters, minutes of training and peak memory beside accuracy.

    Means over tasks and seeds at the largest number of shots.
    """
    shots = study.shots[-1] if study.shots else None
    rows = []
    for method in study.methods:
        runs = study.runs(method, shots)
        if not runs:
            continue
        costs = [run.record["cost"] for run in runs]
        minutes = f"{mean(cost['training_s'] for cost in costs) / 60:.2f}"
        top1 = study.average(method, shots)
        entries = (
            TableCell(f"{mean(cost['trained_parameters'] for cost in costs):,.0f}"),
            TableCell(HOLE if method.strategy == ZERO_SHOT else minutes),
            TableCell(f"{mean(cost['peak_memory_mib'] for cost in costs):,.0f}"),
            TableCell(HOLE if top1 is None else percent(top1)),
        )
        rows.append(TableRow(method.title, entries))
    header = ("", "trained parameters", "minutes", "peak MiB", "top-1")
    note = f"Means over tasks and seeds, {shots_text(shots)}; times are of the machines that ran."
    return ReportTable("efficiency", f"Efficiency{study.length}", header, tuple(rows), (note,))


def retention(study: Study) -> ReportTable:
    """Zero-shot accuracy on the other tasks before and after tuning, by the task that was tuned on.

    Means over seeds, other tasks and shots; methods that cannot meet other classes have holes.
    """
    rows = []
    for method in study.tuned():
        entries, every = [], list[Kept]()
        for task in study.tasks:
            cells = [study.cell(method, task, shots) for shots in study.shots]
            found = [kept for cell in cells if cell for kept in cell.kept]
            every += found
            entries.append(_change(found))
        if every:
            before, after = mean(k.before for k in every), mean(k.after for k in every)
            entries += [TableCell(percent(before)), TableCell(percent(after)), _change(every)]
            rows.append(TableRow(method.title, tuple(entries)))
    header = ("tuned on", *study.tasks, "before", "after", "change")
    note = (
        "By task: change of top-1 on the other tasks in points, with their classes and prompts and "
        "without training there. Before, after: mean top-1 on them, zero-shot and tuned."
    )
    return ReportTable("retention", "Retention", header, tuple(rows), (note,))


def averages(studies: Sequence[Study]) -> ReportTable:
    """Mean over tasks of each method with each backbone, by shots."""
    shots = sorted({s for study in studies for s in study.shots}, key=lambda s: (s is None, s or 0))
    rows = []
    for study in studies:
        for method in study.methods:
            found = [study.average(method, s) if s in study.shots else None for s in shots]
            if any(value is not None for value in found):
                entries = (TableCell(HOLE if value is None else percent(value)) for value in found)
                rows.append(TableRow(f"{study.backbone}: {method.title}", tuple(entries)))
    note = "Mean top-1 in percent over a backbone's tasks."
    header = ("", *map(shots_text, shots))
    return ReportTable("averages", "Average by backbone", header, tuple(rows), (note,))


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
    lines = ([value(run) for _, value in columns] for run in runs)
    return csv_text([[name for name, _ in columns], *lines])


def by_group(study: Study, groups: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the study's tasks by group; half of a task's classes are in its group."""
    found: dict[str, list[str]] = {}
    for task in study.tasks:
        whole = task.removesuffix("-base").removesuffix("-new")
        found.setdefault(groups.get(whole, OWN), []).append(task)
    return dict(sorted(found.items()))


def _published(
    study: Study, method: Method, shots: int | None
) -> list[tuple[float | None, PublishedScore | None]]:
    """Return our score and the published one of each task, and of the average."""
    cells = dict(zip(study.tasks, study.of(method, shots), strict=True))
    if not method.as_published or method.steps_scale != 1:
        return []
    prompts = {task: cell.runs[0].prompts for task, cell in cells.items() if cell}
    drawn = None if method.strategy == ZERO_SHOT else shots

    def of(*tasks: str) -> PublishedScore | None:
        return published(
            PublishedPlace(method.strategy, study.backbone, frozenset(tasks), drawn), prompts
        )

    found = [(cell.mean if cell else None, of(task)) for task, cell in cells.items()]
    if len(cells) > 1:
        found.append((study.average(method, shots), of(*study.tasks)))
    return found


def _conditions(
    study: Study, methods: Sequence[Method], shots: int | None, *, kept: bool
) -> list[str]:
    """Return what a reader of an accuracy table must know."""
    notes = ["Top-1 in percent; ± is the sample standard deviation over seeds."]
    trained = [cell for m in methods if m.strategy != ZERO_SHOT for cell in study.of(m, shots)]
    if len({len(cell.runs) for cell in trained if cell}) > 1:
        notes.append("Cells differ in their number of seeds.")
    if kept:
        notes.append(
            "On other tasks: mean change of top-1 there in points, without training there."
        )
    if any(method.steps_scale != 1 for method in methods):
        notes.append(
            "× steps: trained for this share of the recipe's length, so not the full method."
        )
    varied = [f"{m.label} ({', '.join(m.varies)})" for m in methods if m.varies]
    if varied:
        notes.append(f"Settings that depend on task or shots: {', '.join(varied)}.")
    unsure = [d for m in methods for cell in study.of(m, shots) for d in _doubts(cell)]
    return [*notes, *dict.fromkeys(f"† {doubt}." for doubt in unsure)]


def _marked(cells: Sequence[Cell | None]) -> list[TableCell]:
    entries = with_spread(
        [cell.mean if cell else None for cell in cells],
        [cell.spread if cell else None for cell in cells],
    )
    return [
        replace(entry, text=f"{entry.text} †") if _doubts(cell) else entry
        for cell, entry in zip(cells, entries, strict=True)
    ]


def _doubts(cell: Cell | None) -> tuple[str, ...]:
    """Return what throws doubt on a zero-shot cell."""
    zero_shot = cell is not None and cell.runs[0].spec["strategy"] == ZERO_SHOT
    return doubts(cell.runs[0].record) if cell and zero_shot else ()


def _change(kept: Sequence[Kept]) -> TableCell:
    return TableCell(signed(mean(k.change for k in kept)) if kept else HOLE)


def _over(
    study: Study, method: Method, other: Method | None, task: str, shots: int | None
) -> float | None:
    if other is None or method == other:
        return None
    own, its = study.cell(method, task, shots), study.cell(other, task, shots)
    return own.mean - its.mean if own and its else None


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None if a value is missing."""
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None


def _sizes(tasks: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name} {len(of)}" for name, of in tasks.items())


def _short(shots: int | None) -> str:
    return "all" if shots is None else str(shots)


def _without_type(title: str) -> str:
    return title.replace(f" ({VISION})", "").replace(f", {VISION})", ")")
