"""The report of a study: one self-contained page, and its tables as Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from fewtune.backbones.catalog import EMBEDDED
from fewtune.bench import confusions, plots, reproduction, study_tables, tables
from fewtune.bench.figures import alone
from fewtune.bench.inline import inline_svg
from fewtune.bench.page import environment
from fewtune.bench.published import TOLERANCE
from fewtune.bench.reproduction import PUBLISHED, Comparison, Experiment, compare
from fewtune.bench.results import Run, Study, group, load_runs, refuse_mixed
from fewtune.bench.tables import Table
from fewtune.core.files import write_bytes, write_text
from fewtune.engine.outcome import steps_scale

PAGE = "index.html"
ANALYSES = "analysis"


@dataclass(frozen=True)
class Figure:
    """A drawing in the report.

    Attributes:
        name: Part of its file name.
        svg: Its source; "" if there is nothing to show.
    """

    name: str
    title: str
    caption: str
    svg: str

    def inline(self) -> Markup:
        """Return it as an element of the page."""
        return inline_svg(self.svg, self.name, self.title) or Markup()


@dataclass(frozen=True)
class Part:
    """What stands under a heading, or folded up under a title."""

    title: str
    shown: tuple[Table | Figure, ...]
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A heading and its parts."""

    title: str
    parts: tuple[Part, ...]

    @property
    def anchor(self) -> str:
        """Name of the section in links."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def write_report(
    places: Sequence[Path],
    out: Path,
    groups: Mapping[str, str],
    title: str = "FewTune report",
    *,
    mixed: bool = False,
    experiment: Experiment | None = None,
) -> Path:
    """Write the report of all complete runs below `places` into `out` and return its page.

    Equal runs give equal bytes.

    Args:
        groups: Group of each task that has one ("natural").
        mixed: Accept runs of several versions of FewTune, and several states of one task's data.
        experiment: Whose expected scores are compared with ours; None for all that are known.

    Raises:
        RunError: There are no complete runs, or they cannot stand in one table.
    """
    runs, notes = load_runs(places)
    if not mixed:
        refuse_mixed(runs)
    studies = group(runs)
    tolerance = experiment.tolerance if experiment else TOLERANCE
    sections = [
        *_published(compare(studies, experiment), tolerance, experiment),
        *_overview(studies),
        *(section for study in studies for section in _sections(study, groups, tolerance)),
        *_analyses(places),
    ]
    out.mkdir(parents=True, exist_ok=True)
    for part in _every(sections):
        if isinstance(part, Table):
            write_text(out / f"{part.name}.tex", tables.latex(part))
            write_text(out / f"{part.name}.csv", tables.as_csv(part))
        else:
            write_text(out / f"{part.name}.svg", alone(part.svg, f"{part.title}. {part.caption}"))
    write_text(out / "report.md", _markdown(title, sections, notes))
    write_text(out / "runs.csv", study_tables.runs_csv(runs))
    _write_parquet(out / "runs.parquet", out / "runs.csv")
    write_text(out / PAGE, _page(title, runs, sections, notes))
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


def _published(
    comparisons: Sequence[Comparison], tolerance: float, experiment: Experiment | None
) -> list[Section]:
    """Return published scores beside ours."""
    shown = reproduction.table(comparisons, tolerance)
    part = Part(reproduction.summary(comparisons, tolerance), (shown,), folded=True)
    return _shown({experiment.title if experiment else "Published scores": [part]})


def _overview(studies: Sequence[Study]) -> list[Section]:
    """Return what several backbones have in common."""
    if len(studies) < 2:
        return []
    shown: list[Table | Figure] = [
        _figure("averages", "Average accuracy against shots", plots.average_curves(studies),
                "A panel a backbone: means over its tasks; the dashed line is zero-shot."),
        study_tables.averages(studies),
    ]  # fmt: skip
    return _shown({"All backbones": [Part("", tuple(shown))]})


def _sections(study: Study, groups: Mapping[str, str], tolerance: float) -> list[Section]:
    """Return a backbone's sections; parts that have nothing to show are left out."""
    of = study.backbone
    found: dict[str, list[Table | Figure]] = {
        "Accuracy": [
            _figure(f"{of}-shots", "Accuracy against shots", plots.accuracy_curves(study),
                    "Means and sample deviations over seeds; the dashed line is zero-shot."),
            *(study_tables.accuracy(study, s, tolerance) for s in reversed(study.shots)),
        ],
        "Gain by group of tasks": [
            _figure(f"{of}-gains", "Gain over zero-shot by group", plots.gains(study, groups),
                    "A dot is a task, hollow where a linear head decides; the bar is their mean, "
                    "at the largest number of shots."),
            study_tables.gains(study, groups),
            study_tables.modalities(study, groups),
        ],
        "Efficiency": [
            _figure(f"{of}-efficiency", "Accuracy against cost", plots.efficiency(study),
                    "Means over tasks and seeds at the largest number of shots; the dashed line is "
                    "zero-shot."),
            study_tables.efficiency(study),
        ],
        "Retention": [
            _figure(f"{of}-retention", "Gain against retention", plots.retention(study),
                    "A dot is a method on a task, at the largest number of shots."),
            study_tables.retention(study),
        ],
    }  # fmt: skip
    parts = {
        f"{title} with {of}": [Part("", tuple(_named(of, one) for one in shown))]
        for title, shown in found.items()
    }
    parts[f"Class by class with {of}"] = [_classes(study, task) for task in study.tasks]
    return _shown(parts)


def _classes(study: Study, task: str) -> Part:
    """Return what is told of a task's classes."""
    of = study.backbone
    shown: list[Table | Figure] = [
        _figure(f"{of}-recall-{task}", f"Recall by class: {task}",
                confusions.recalls(study, task), "Means over seeds.")
    ]  # fmt: skip
    found = confusions.confusion(study, task)
    if found is not None:
        shown += [
            _named(of, confusions.largest(study, task, found)),
            _figure(f"{of}-confusion-{task}", f"Confusions: {task}",
                    confusions.confusion_map(found),
                    "Rows are classes, columns what their images are taken for; means over seeds."),
        ]  # fmt: skip
    return Part(task, tuple(shown), folded=len(study.tasks) > 1)


def _analyses(places: Sequence[Path]) -> list[Section]:
    """Return what `fewtune analyze` has drawn below these folders."""
    files = {file for place in places for file in place.rglob(f"{ANALYSES}/*.svg")}
    folders = {file.parent: file.parent.parent.name for file in files}
    parts = [
        Part(
            name,
            tuple(
                _figure(f"{ANALYSES}-{name}-{file.stem}", f"{file.stem.replace('-', ' ')}: {name}",
                        file.read_text(encoding="utf-8"), "Drawn by `fewtune analyze`.")
                for file in sorted(files) if file.parent == folder
            ),
            folded=len(folders) > 1,
        )
        for folder, name in sorted(folders.items(), key=lambda pair: pair[1])
    ]  # fmt: skip
    return _shown({"Analyses": parts})


def _shown(found: Mapping[str, Sequence[Part]]) -> list[Section]:
    """Return the sections without what is empty."""
    sections = []
    for title, parts in found.items():
        kept = [
            Part(part.title, shown, part.folded)
            for part in parts
            if (shown := tuple(one for one in part.shown if _has_content(one)))
        ]
        if kept:
            sections.append(Section(title, tuple(kept)))
    return sections


def _has_content(one: Table | Figure) -> bool:
    return bool(one.rows) if isinstance(one, Table) else bool(one.inline())


def _every(sections: Sequence[Section]) -> Iterator[Table | Figure]:
    return (one for section in sections for part in section.parts for one in part.shown)


def _named(backbone: str, one: Table | Figure) -> Table | Figure:
    return one.named(f"{backbone}-{one.name}") if isinstance(one, Table) else one


def _figure(name: str, title: str, svg: str, caption: str) -> Figure:
    return Figure(name.replace("/", "-"), title, caption, svg)


def _page(
    title: str, runs: Sequence[Run], sections: Sequence[Section], notes: Sequence[str]
) -> str:
    shown = [one for one in _every(sections) if isinstance(one, Table)]
    differences = [d for table in shown if table.name == PUBLISHED for d in table.differences]
    return environment().get_template("report.html.jinja").render(
        title=title,
        runs=runs,
        tasks=sorted({run.spec["task"] for run in runs}),
        embedded=any(run.spec["backbone"] == EMBEDDED for run in runs),
        scaled=any(steps_scale(run.record) != 1 for run in runs),
        notes=notes,
        differences=differences,
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
        for one in _every([section]):
            if isinstance(one, Table):
                parts.append(tables.markdown(one).rstrip("\n"))
            else:
                parts.append(f"![{one.title}]({one.name}.svg)")
    return "\n\n".join(parts) + "\n"
