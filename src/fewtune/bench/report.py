"""The report of a study: one self-contained page, and its tables as Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from fewtune.backbones.catalog import EMBEDDED
from fewtune.bench import plots, tables
from fewtune.bench.page import environment
from fewtune.bench.results import Run, Study, group, load_runs, refuse_mixed
from fewtune.bench.tables import Table
from fewtune.core.files import write_bytes, write_text
from fewtune.engine.outcome import steps_scale

PAGE = "index.html"


@dataclass(frozen=True)
class Figure:
    """A drawing in the report.

    Attributes:
        name: Part of its file name.
        svg: Its source.
    """

    name: str
    title: str
    caption: str
    svg: Markup


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    parts: tuple[Table | Figure, ...]


def write_report(
    places: Sequence[Path],
    out: Path,
    groups: Mapping[str, str],
    title: str = "FewTune report",
    *,
    mixed: bool = False,
) -> Path:
    """Write the report of all complete runs below `places` into `out` and return its page.

    Equal runs give equal bytes.

    Args:
        groups: Group of each task that has one ("natural").
        mixed: Accept runs of several versions of FewTune, and several states of one task's data.

    Raises:
        RunError: There are no complete runs, or they cannot stand in one table.
    """
    runs, notes = load_runs(places)
    if not mixed:
        refuse_mixed(runs)
    sections = [section for study in group(runs) for section in _sections(study, groups)]
    page = _page(title, runs, sections, notes)
    out.mkdir(parents=True, exist_ok=True)
    for section in sections:
        for part in section.parts:
            if isinstance(part, Table):
                write_text(out / f"{part.name}.tex", tables.latex(part))
            else:
                write_text(out / f"{part.name}.svg", str(part.svg).replace("currentColor", "#111"))
    write_text(out / "report.md", _markdown(title, sections, notes))
    write_text(out / "runs.csv", tables.runs_csv(runs))
    _write_parquet(out / "runs.parquet", out / "runs.csv")
    write_text(out / PAGE, page)
    return out / PAGE


def _write_parquet(path: Path, csv: Path) -> None:
    """Write the lines of `csv` as parquet, if pyarrow is installed."""
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        return
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(csv), sink)
    write_bytes(path, sink.getvalue().to_pybytes())


def _sections(study: Study, groups: Mapping[str, str]) -> list[Section]:
    """Return a backbone's sections; parts that have nothing to show are left out."""
    of = study.backbone
    accuracy: list[Table | Figure] = [
        _figure(f"{of}-shots", "Accuracy against shots", plots.accuracy_curves(study),
                "Means and sample deviations over seeds; the dashed line is zero-shot."),
        *(_named(of, tables.accuracy(study, shots)) for shots in reversed(study.shots)),
    ]  # fmt: skip
    gains: list[Table | Figure] = [
        _figure(f"{of}-gains", "Gain over zero-shot by group", plots.gains(study, groups),
                "A dot is a task, the bar their mean."),
        _named(of, tables.gains(study, groups)),
    ]  # fmt: skip
    cost: list[Table | Figure] = [
        _figure(f"{of}-efficiency", "Accuracy against cost", plots.efficiency(study),
                "Means over tasks and seeds at the largest number of shots."),
        _named(of, tables.efficiency(study)),
    ]  # fmt: skip
    kept: list[Table | Figure] = [
        _figure(f"{of}-retention", "Gain against retention", plots.retention(study),
                "A dot is a method on a task, at the largest number of shots."),
        _named(of, tables.retention(study)),
    ]  # fmt: skip
    classes: list[Table | Figure] = [
        _figure(f"{of}-recall-{task.replace('/', '-')}", f"Recall by class: {task}",
                plots.recalls(study, task), "Means over seeds.")
        for task in study.tasks
    ]  # fmt: skip
    found: dict[str, list[Table | Figure]] = {
        f"Accuracy with {of}": accuracy,
        f"Gain by group of tasks with {of}": gains,
        f"Efficiency with {of}": cost,
        f"Retention with {of}": kept,
        f"Class by class with {of}": classes,
    }
    shown = {
        title: tuple(p for p in parts if (p.rows if isinstance(p, Table) else p.svg))
        for title, parts in found.items()
    }
    return [Section(title, parts) for title, parts in shown.items() if parts]


def _named(backbone: str, table: Table) -> Table:
    return Table(f"{backbone}-{table.name}", table.title, table.header, table.rows, table.notes)


def _figure(name: str, title: str, svg: str, caption: str) -> Figure:
    return Figure(name.replace("/", "-"), title, caption, Markup(svg))


def _page(
    title: str, runs: Sequence[Run], sections: Sequence[Section], notes: Sequence[str]
) -> str:
    return environment().get_template("report.html.jinja").render(
        title=title,
        runs=runs,
        tasks=sorted({run.spec["task"] for run in runs}),
        embedded=any(run.spec["backbone"] == EMBEDDED for run in runs),
        scaled=any(steps_scale(run.record) != 1 for run in runs),
        notes=notes,
        sections=sections,
        facts=_facts(runs),
    )  # fmt: skip


def _facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    def distinct(name: str) -> str:
        return ", ".join(sorted({str(run.record["environment"].get(name)) for run in runs}))

    data = sorted({f"{run.spec['task']} ({run.spec['data'][:12]})" for run in runs})
    remarks = sorted({f"{r.spec['task']}: {n}" for r in runs for n in r.record["task"]["notes"]})
    return [
        ("runs", f"{len(runs)}, each a folder; runs.csv has a line for each"),
        ("backbones", ", ".join(sorted({run.spec["backbone"] for run in runs}))),
        ("data", "; ".join(data)),
        ("of the data", "; ".join(remarks)),
        ("machines", distinct("processor")),
        ("versions", f"fewtune {distinct('fewtune')}, torch {distinct('torch')}"),
    ]


def _markdown(title: str, sections: Sequence[Section], notes: Sequence[str]) -> str:
    parts = [f"# {title}", *(f"{note}." for note in notes)]
    for section in sections:
        parts.append(f"## {section.title}")
        for part in section.parts:
            if isinstance(part, Table):
                parts.append(tables.markdown(part).rstrip("\n"))
            else:
                parts.append(f"![{part.title}]({part.name}.svg)")
    return "\n\n".join(parts) + "\n"
