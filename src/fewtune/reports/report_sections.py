"""Sections of a report, in their order; one that has nothing to show is left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewtune.reports import (
    reproduction,
    study_classes,
    study_mistakes,
    study_plots,
    study_tables,
)
from fewtune.reports.figures import ALONE, alone, data_uri, is_svg
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
        svg: Its source; "" if there is nothing to show.
    """

    name: str
    title: str
    caption: str
    svg: str

    def named(self, name: str) -> Figure:
        """Return it under another name."""
        return replace(self, name=name.replace("/", "-"))

    @property
    def file(self) -> str:
        """The drawing as a file of its own, which follows light and dark."""
        return self.svg if ALONE in self.svg else alone(self.svg, f"{self.title}. {self.caption}")

    @property
    def address(self) -> str:
        """The drawing as the address of an image."""
        return data_uri(self.file.encode(), "svg+xml")


Shown = ReportTable | Figure


@dataclass(frozen=True)
class SectionPart:
    """What stands under a heading, or folded up under a title."""

    title: str
    shown: tuple[Shown, ...]
    folded: bool = False

    def kept(self, prefix: str) -> SectionPart:
        """Return it without what is empty, names with a prefix."""
        kept = (
            one
            for one in self.shown
            if (one.rows if isinstance(one, ReportTable) else is_svg(one.svg))
        )
        return replace(self, shown=tuple(one.named(prefix + one.name) for one in kept))


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
        tolerance: How far ours may be from these, in [0, 1].
        experiment: Title of the experiment whose scores they are; "" for none.
    """
    reported = reproduction.summary(comparisons, tolerance)
    scores = SectionPart(reported, (reproduction.table(comparisons, tolerance),), folded=True)
    found = [
        _section(experiment or "Published scores", [scores]),
        _section("Benchmarks", _benchmarks(places)),
        _section("All backbones", _backbones(studies)),
    ]
    for study in studies:
        parts = {
            "Accuracy": _accuracy(study, tolerance),
            "Gain by group of tasks": _gains(study, groups),
            "Efficiency": _efficiency(study),
            "Retention": _retention(study),
            "Class by class": [_classes(study, task) for task in study.tasks],
        }
        name = study.backbone
        found += [_section(f"{title} with {name}", of, f"{name}-") for title, of in parts.items()]
    found.append(_section("Analyses", _analyses(places)))
    return [section for section in found if section.parts]


def _section(title: str, parts: Sequence[SectionPart], prefix: str = "") -> Section:
    kept = (part.kept(prefix) for part in parts)
    return Section(title, tuple(part for part in kept if part.shown))


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
    figure = Figure(
        "averages",
        "Average accuracy against shots",
        "A panel per backbone: means over its tasks; the dashed line is zero-shot.",
        study_plots.average_curves(studies),
    )
    return [SectionPart("", (figure, study_tables.averages(studies)))]


def _accuracy(study: Study, tolerance: float) -> list[SectionPart]:
    figure = Figure(
        "shots",
        f"Accuracy against shots{study.length}",
        "Means and sample deviations over seeds; the dashed line is zero-shot.",
        study_plots.accuracy_curves(study),
    )
    tables = [study_tables.accuracy(study, s, tolerance) for s in _shots(study)]
    return _largest_first(figure, tables)


def _gains(study: Study, groups: Mapping[str, str]) -> list[SectionPart]:
    figure = Figure(
        "gains",
        f"Gain over zero-shot by group{_largest(study)}",
        "A dot is a task, hollow where a linear head decides; the bar is their mean.",
        study_plots.gains(study, groups),
    )
    tables = [study_tables.gains(study, groups, s) for s in _shots(study)]
    modalities = SectionPart("", (study_tables.modalities(study, groups),))
    return [*_largest_first(figure, tables), modalities]


def _efficiency(study: Study) -> list[SectionPart]:
    figure = Figure(
        "efficiency",
        f"Accuracy against cost{_largest(study)}",
        "Means over tasks and seeds, of methods that were run on every task; the dashed line is "
        "zero-shot.",
        study_plots.efficiency(study),
    )
    return [SectionPart("", (figure, study_tables.efficiency(study)))]


def _retention(study: Study) -> list[SectionPart]:
    figure = Figure(
        "retention",
        f"Gain against retention{_largest(study)}",
        "A dot is a method on a task.",
        study_plots.retention(study),
    )
    return [SectionPart("", (figure, study_tables.retention(study)))]


def _classes(study: Study, task: str) -> SectionPart:
    recalls = Figure(
        f"recall-{task}",
        f"Recall by class: {task}{_largest(study)}",
        "Means over seeds.",
        study_classes.recalls(study, task),
    )
    pictures = Figure(
        f"mistakes-{task}",
        f"Mistakes: {task}{_largest(study)}",
        "What the best method is surest of and wrong about: the class, and what it is taken for.",
        study_mistakes.mistakes(study, task),
    )
    shown: tuple[Shown, ...] = (pictures, recalls)
    if found := study_classes.confusions_on(study, task):
        drawn = Figure(
            f"confusion-{task}",
            f"Confusions: {task}{_largest(study)}",
            "Rows are classes, columns what their images are taken for; means over seeds.",
            study_classes.matrices(found),
        )
        shown = (pictures, recalls, study_classes.largest(study, task, found), drawn)
    return SectionPart(task, shown, folded=len(study.tasks) > 1)


def _analyses(places: Sequence[Path]) -> list[SectionPart]:
    """Return what `fewtune analyze` has drawn below these folders."""
    files = sorted({file for place in places for file in place.rglob(f"{ANALYSES}/*.svg")})
    of_runs: dict[Path, list[Figure]] = defaultdict(list)
    for file in files:
        run = file.parents[1].name
        of_runs[file.parent].append(
            Figure(
                f"{ANALYSES}-{run}-{file.stem}",
                f"{file.stem.replace('-', ' ').capitalize()}: {run}",
                "Drawn by fewtune analyze.",
                file.read_text(encoding="utf-8", errors="replace"),
            )
        )
    folders = sorted(of_runs, key=lambda folder: folder.parent.name)
    return [
        SectionPart(folder.parent.name, tuple(of_runs[folder]), folded=len(folders) > 1)
        for folder in folders
    ]


def _shots(study: Study) -> list[int | None]:
    """Return the numbers of shots: the one with the most runs, then the others from the largest."""
    return sorted(reversed(study.shots), key=lambda shots: shots != study.main_shots)


def _largest_first(figure: Figure, tables: Sequence[ReportTable]) -> list[SectionPart]:
    """Return the figure and the first table, and the others folded up."""
    return [
        SectionPart("", (figure, *tables[:1])),
        SectionPart("Other numbers of shots", tuple(tables[1:]), folded=True),
    ]


def _largest(study: Study) -> str:
    """Return the number of shots with the most runs, and the length of training, for titles."""
    return f", {shots_text(study.main_shots)}{study.length}" if study.shots else ""
