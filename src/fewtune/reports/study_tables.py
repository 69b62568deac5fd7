"""Tables of a study: accuracy, gain, efficiency and retention, zero-shot first.

The numbers of papers stand next to ours, marked as published.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import mean

from fewtune.core.percentages import HOLE, percent, signed, widest_interval
from fewtune.core.spec import ZERO_SHOT
from fewtune.reports.grouping import LINEAR_PROBE, Method
from fewtune.reports.published_scores import TOLERANCE, PublishedPlace, PublishedScore, published
from fewtune.reports.study_runs import Cell, Run, Study
from fewtune.reports.summary import doubts, shots_text
from fewtune.reports.tables import (
    DIFFERS,
    ReportTable,
    TableCell,
    TableRow,
    as_cell,
    csv_of_mappings,
    ranked,
    ranked_means,
    table_of_columns,
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
        columns.append(ranked([study.average(m, shots) for m in methods]))
    header = ("", *study.tasks, *(("average",) if several else ()))
    kept = [[k for of in study.of(m, shots) for k in _kept(of)] for m in methods]
    if any(kept):
        columns.append(list(map(_change, kept)))
        header = (*header, "on other tasks")
    rows, differences, notes = [], [], _conditions(study, methods, shots, kept=any(kept))
    sources: dict[str, None] = {}
    for index, method in enumerate(methods):
        entries = [column[index] for column in columns]
        known = _published(study, method, shots)
        for column, (ours, score) in enumerate(known):
            if score is None:
                continue
            sources[score.source] = None
            if ours is not None and not score.agrees(ours, tolerance):
                entries[column] = replace(entries[column], text=entries[column].text + DIFFERS)
                differences.append(
                    _difference(method.label, header[column + 1], ours, score, shots)
                )
        rows.append(TableRow(method.title, tuple(entries)))
        if any(score for _, score in known):
            theirs = [TableCell(score.text()) if score else as_cell(None) for _, score in known]
            theirs += [as_cell(None)] * (len(columns) - len(theirs))
            rows.append(TableRow(f"{method.label}, published", tuple(theirs), published=True))
    if sources:
        notes.append(f"Published: {'; '.join(sources)}.")
    return ReportTable(
        f"accuracy-{'all' if shots is None else shots}",
        f"Accuracy, {shots_text(shots)}{study.length}",
        header,
        tuple(rows),
        tuple(notes),
        tuple(differences),
    )


def _difference(who: str, where: str, ours: float, score: PublishedScore, shots: int | None) -> str:
    """Return a sentence on a score that is further off than a faithful run's would be."""
    drawn = "" if who.startswith("Zero-shot") else f" with {shots_text(shots)}"
    return f"{who} on {where}{drawn}: {percent(ours)} here, {score.text()} published."


def gains(study: Study, groups: Mapping[str, str], shots: int | None) -> ReportTable:
    """Mean gain over zero-shot and over the linear probe, by group of tasks and method.

    Args:
        groups: Group of each task ("natural"); tasks without one are "own".
    """
    tasks = by_group(study, groups)
    probe = next((m for m in reversed(study.methods) if m.strategy == LINEAR_PROBE), None)
    methods = [m for m in study.tuned() if any(study.of(m, shots))]
    columns = [("modality", [TableCell(method.modality) for method in methods])]
    for name, of_group in tasks.items():
        over_zero = [_mean(study.gain(m, t, shots) for t in of_group) for m in methods]
        over_probe = [_mean(_over(study, m, probe, t, shots) for t in of_group) for m in methods]
        columns += [
            (f"{name}: over zero-shot", ranked(over_zero, signed)),
            (f"{name}: over linear probe", ranked(over_probe, signed)),
        ]
    return table_of_columns(
        f"gains-{'all' if shots is None else shots}",
        f"Gain by group of tasks, strategy and modality, {shots_text(shots)}{study.length}",
        [method.title for method in methods],
        columns,
        (
            f"Mean difference of top-1 in points over the group's tasks: {_sizes(tasks)}.",
            "Modality: decided by similarity to class prompts (vision-language), or by a trained "
            "linear head (vision).",
        ),
    )


def modalities(study: Study, groups: Mapping[str, str]) -> ReportTable:
    """Mean gain over zero-shot in either modality, of strategies that were run in both."""
    tasks = by_group(study, groups)
    variants = {(m.variant_of, m.modality): m for m in study.tuned()}
    rows = []
    for (key, modality), method in variants.items():
        other = variants.get((key, VISION_LANGUAGE))
        if modality != VISION or other is None:
            continue
        for shots in study.shots:
            entries: list[TableCell] = []
            for of_group in tasks.values():
                words, head = (
                    _mean(study.gain(m, t, shots) for t in of_group) for m in (other, method)
                )
                if words is None or head is None:
                    entries += [as_cell(None)] * 3
                else:
                    entries += [as_cell(value, signed) for value in (words, head, words - head)]
            if any(entry.text != HOLE for entry in entries):
                first = TableCell("all" if shots is None else str(shots))
                rows.append(TableRow(_without_type(method.title), (first, *entries)))
    names = (f"{n}: {of}" for n in tasks for of in (VISION_LANGUAGE, VISION, "difference"))
    return ReportTable(
        "modalities",
        f"Class prompts or a linear head{study.length}",
        ("", "shots", *names),
        tuple(rows),
        (f"Mean gain over zero-shot in percentage points: {_sizes(tasks)}.",),
    )


def efficiency(study: Study) -> ReportTable:
    """Trained parameters, minutes of training and peak memory next to accuracy.

    Means over tasks and seeds at the number of shots with the most runs.
    """
    shots = study.main_shots
    rows = []
    for method in study.methods:
        costs = [run.record["cost"] for run in study.runs(method, shots)]
        if not costs:
            continue
        minutes = mean(cost["training_s"] for cost in costs) / 60
        entries = (
            TableCell(f"{mean(cost['trained_parameters'] for cost in costs):,.0f}"),
            as_cell(None if method.strategy == ZERO_SHOT else minutes, "{:.2f}".format),
            TableCell(f"{mean(cost['peak_memory_mib'] for cost in costs):,.0f}"),
            as_cell(study.average(method, shots)),
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
        of_tasks = [
            [k for shots in study.shots for k in _kept(study.cell(method, task, shots))]
            for task in study.tasks
        ]
        every = [kept for of_task in of_tasks for kept in of_task]
        if every:
            before, after = mean(k.before for k in every), mean(k.after for k in every)
            changes = [_change(found) for found in (*of_tasks, every)]
            entries = (*changes[:-1], as_cell(before), as_cell(after), changes[-1])
            rows.append(TableRow(method.title, entries))
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
                title = f"{study.backbone}: {method.title}"
                rows.append(TableRow(title, tuple(map(as_cell, found))))
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
    return csv_of_mappings([{name: value(run) for name, value in columns} for run in runs])


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
    prompts = {task: of.runs[0].prompts for task, of in cells.items() if of}
    drawn = None if method.strategy == ZERO_SHOT else shots

    def theirs(*tasks: str) -> PublishedScore | None:
        return published(
            PublishedPlace(method.strategy, study.backbone, frozenset(tasks), drawn), prompts
        )

    found = [(of.mean if of else None, theirs(task)) for task, of in cells.items()]
    if len(cells) > 1:
        found.append((study.average(method, shots), theirs(*study.tasks)))
    return found


def _conditions(
    study: Study, methods: Sequence[Method], shots: int | None, *, kept: bool
) -> list[str]:
    """Return what a reader of an accuracy table must know."""
    every = [of for m in methods for of in study.of(m, shots) if of]
    trained = [of for m in methods if m.strategy != ZERO_SHOT for of in study.of(m, shots)]
    notes = [
        f"Top-1 in percent; ± is the sample standard deviation over {_varied(every)}.",
        widest_interval({r.spec["task"]: r.test_images for of in every for r in of.runs}),
    ]
    if len({len(of.runs) for of in trained if of}) > 1:
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
    unsure = [d for m in methods for of in study.of(m, shots) for d in _doubts(of)]
    return [*notes, *dict.fromkeys(f"† {doubt}." for doubt in unsure)]


def _varied(cells: Sequence[Cell]) -> str:
    """Return in what the runs of a cell differ, where one does: seeds, and what --mixed allows."""
    kinds = {"seed": "seeds", "data": "images or prompts", "revision": "states of the backbone"}
    varied = [
        word
        for name, word in kinds.items()
        if any(len({run.spec[name] for run in of.runs}) > 1 for of in cells)
    ]
    return ", ".join(varied) or "seeds"


def _marked(cells: Sequence[Cell | None]) -> list[TableCell]:
    return [
        replace(entry, text=entry.text + " †") if _doubts(of) else entry
        for of, entry in zip(cells, ranked_means(cells), strict=True)
    ]


def _doubts(of: Cell | None) -> tuple[str, ...]:
    """Return the notes that throw doubt on a zero-shot score."""
    zero_shot = of is not None and of.runs[0].spec["strategy"] == ZERO_SHOT
    return doubts(of.runs[0].record) if of and zero_shot else ()


def _kept(of: Cell | None) -> tuple[Kept, ...]:
    return of.kept if of else ()


def _change(kept: Sequence[Kept]) -> TableCell:
    return as_cell(mean(k.change for k in kept) if kept else None, signed)


def _over(
    study: Study, method: Method, other: Method | None, task: str, shots: int | None
) -> float | None:
    if other is None or method == other:
        return None
    own, its = study.cell(method, task, shots), study.cell(other, task, shots)
    return own.mean - its.mean if own and its else None


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean; None if a value is missing."""
    every = list(values)
    known = [value for value in every if value is not None]
    return mean(known) if known and len(known) == len(every) else None


def _sizes(tasks: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name} {len(of)}" for name, of in tasks.items())


def _without_type(title: str) -> str:
    return title.replace(f" ({VISION})", "").replace(f", {VISION})", ")")
