"""Sections of a report, in their order; one that has nothing to show is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from fewtune.reports import reproduction, study_classes, study_plots, study_tables
from fewtune.reports.inline_svg import inline_svg
from fewtune.reports.protocol_tables import protocol_tables
from fewtune.reports.reproduction import Comparison
from fewtune.reports.study_runs import Study
from fewtune.reports.summary import shots_text
from fewtune.reports.tables import ReportTable

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
        """Return it as an element of the page; "" if there is nothing to show, or it is no SVG."""
        return inline_svg(self.svg, self.name, self.title) or Markup()


Shown = ReportTable | Figure


@dataclass(frozen=True)
class SectionPart:
    """What stands under a heading, or folded up under a title."""

    title: str
    shown: tuple[Shown, ...]
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A heading and its parts."""

    title: str
    parts: tuple[SectionPart, ...]

    @property
    def anchor(self) -> str:
        """Name of the section in links."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())

    def every(self) -> Iterator[Shown]:
        """Yield all tables and figures."""
        return (one for part in self.parts for one in part.shown)


def sections(
    places: Sequence[Path],
    studies: Sequence[Study],
    groups: Mapping[str, str],
    comparisons: Sequence[Comparison],
    tolerance: float,
    experiment: str = "",
) -> list[Section]:
    """Return all sections.

    Args:
        groups: Group of each task that has one ("natural").
        comparisons: Published scores next to ours.
        tolerance: How far ours may be from these, in [0, 1].
        experiment: Title of the experiment whose scores they are; "" for none.
    """
    reported = reproduction.summary(comparisons, tolerance)
    scores = SectionPart(reported, (reproduction.table(comparisons, tolerance),), folded=True)
    found: dict[str, list[SectionPart]] = {
        experiment or "Published scores": [scores],
        "Benchmarks": _benchmarks(places),
        "All backbones": _backbones(studies),
    }
    for study in studies:
        parts = {
            "Accuracy": _accuracy(study, tolerance),
            "Gain by group of tasks": _gains(study, groups),
            "Efficiency": _efficiency(study),
            "Retention": _retention(study),
            "Class by class": [_classes(study, task) for task in study.tasks],
        }
        found |= {f"{title} with {study.backbone}": of for title, of in parts.items()}
    found["Analyses"] = _analyses(places)
    return [Section(title, kept) for title, parts in found.items() if (kept := _shown(parts))]


def _benchmarks(places: Sequence[Path]) -> list[SectionPart]:
    """Return the tables of the protocols that were run; those of single datasets are folded up."""
    first, others = list[ReportTable](), list[ReportTable]()
    for table in protocol_tables(places):
        of_one = table.name.startswith("base-to-new-") and "-average" not in table.name
        (others if of_one else first).append(table)
    return [
        SectionPart("", tuple(first)),
        SectionPart("By dataset", tuple(others), folded=bool(first)),
    ]


def _backbones(studies: Sequence[Study]) -> list[SectionPart]:
    """Return what several backbones have in common."""
    if len(studies) < 2:
        return []
    figure = _figure(
        "averages",
        "Average accuracy against shots",
        study_plots.average_curves(studies),
        "A panel per backbone: means over its tasks; the dashed line is zero-shot.",
    )
    return [SectionPart("", (figure, study_tables.averages(studies)))]


def _accuracy(study: Study, tolerance: float) -> list[SectionPart]:
    figure = _figure(
        f"{study.backbone}-shots",
        f"Accuracy against shots{study.length}",
        study_plots.accuracy_curves(study),
        "Means and sample deviations over seeds; the dashed line is zero-shot.",
    )
    tables = [study_tables.accuracy(study, s, tolerance) for s in reversed(study.shots)]
    return _largest_first(study, figure, tables)


def _gains(study: Study, groups: Mapping[str, str]) -> list[SectionPart]:
    figure = _figure(
        f"{study.backbone}-gains",
        f"Gain over zero-shot by group{_largest(study)}",
        study_plots.gains(study, groups),
        "A dot is a task, hollow where a linear head decides; the bar is their mean.",
    )
    tables = [study_tables.gains(study, groups, s) for s in reversed(study.shots)]
    modalities = study_tables.modalities(study, groups)
    return [*_largest_first(study, figure, tables), SectionPart("", _named(study, modalities))]


def _efficiency(study: Study) -> list[SectionPart]:
    figure = _figure(
        f"{study.backbone}-efficiency",
        f"Accuracy against cost{_largest(study)}",
        study_plots.efficiency(study),
        "Means over tasks and seeds, of methods that were run on every task; the dashed line is "
        "zero-shot.",
    )
    return [SectionPart("", (figure, *_named(study, study_tables.efficiency(study))))]


def _retention(study: Study) -> list[SectionPart]:
    figure = _figure(
        f"{study.backbone}-retention",
        f"Gain against retention{_largest(study)}",
        study_plots.retention(study),
        "A dot is a method on a task.",
    )
    return [SectionPart("", (figure, *_named(study, study_tables.retention(study))))]


def _classes(study: Study, task: str) -> SectionPart:
    of = f"{study.backbone}-{{}}-{task}"
    recalls = _figure(
        of.format("recall"),
        f"Recall by class: {task}{_largest(study)}",
        study_classes.recalls(study, task),
        "Means over seeds.",
    )
    found = study_classes.confusions_on(study, task)
    if found is None:
        return SectionPart(task, (recalls,), folded=len(study.tasks) > 1)
    drawn = _figure(
        of.format("confusion"),
        f"Confusions: {task}{_largest(study)}",
        study_classes.matrices(found),
        "Rows are classes, columns what their images are taken for; means over seeds.",
    )
    largest = _named(study, study_classes.largest(study, task, found))
    return SectionPart(task, (recalls, *largest, drawn), folded=len(study.tasks) > 1)


def _analyses(places: Sequence[Path]) -> list[SectionPart]:
    """Return what `fewtune analyze` has drawn below these folders."""
    files = {file for place in places for file in place.rglob(f"{ANALYSES}/*.svg")}
    folders = {file.parent: file.parent.parent.name for file in files}
    parts = []
    for folder, name in sorted(folders.items(), key=lambda pair: pair[1]):
        drawn = (
            _figure(
                f"{ANALYSES}-{name}-{file.stem}",
                f"{file.stem.replace('-', ' ').capitalize()}: {name}",
                file.read_text(encoding="utf-8", errors="replace"),
                "Drawn by fewtune analyze.",
            )
            for file in sorted(files)
            if file.parent == folder
        )
        parts.append(SectionPart(name, tuple(drawn), folded=len(folders) > 1))
    return parts


def _largest_first(
    study: Study, figure: Figure, tables: Sequence[ReportTable]
) -> list[SectionPart]:
    """Return the figure and the first table, and the others folded up."""
    named = _named(study, *tables)
    return [
        SectionPart("", (figure, *named[:1])),
        SectionPart("Other numbers of shots", named[1:], folded=True),
    ]


def _largest(study: Study) -> str:
    """Return the largest number of shots, and the length of training, for titles."""
    return f", {shots_text(study.shots[-1])}{study.length}" if study.shots else ""


def _named(study: Study, *tables: ReportTable) -> tuple[Shown, ...]:
    return tuple(table.named(f"{study.backbone}-{table.name}") for table in tables)


def _figure(name: str, title: str, svg: str, caption: str) -> Figure:
    return Figure(name.replace("/", "-"), title, caption, svg)


def _shown(parts: Sequence[SectionPart]) -> tuple[SectionPart, ...]:
    """Return the parts without what is empty."""
    kept = (
        SectionPart(part.title, tuple(one for one in part.shown if _has_content(one)), part.folded)
        for part in parts
    )
    return tuple(part for part in kept if part.shown)


def _has_content(one: Shown) -> bool:
    return bool(one.rows) if isinstance(one, ReportTable) else bool(one.inline())
