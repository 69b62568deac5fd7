"""Tables and figures of the two studies' pages and of the README, from the packed records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHOTS = 16
OWN_COLUMN = "fashion-mnist"


@dataclass(frozen=True)
class Study:
    """What a page shows of `experiments/NAME.tar.xz`, whose sweep is `experiments/NAME.toml`.

    Attributes:
        prefix: Of the names of its tables, and the folder of its figures in `docs`.
    """

    name: str
    backbone: str
    prefix: str
    tables: tuple[str, ...]
    drawn: tuple[str, ...]


PICTOGRAMS = Study(
    "pictogram-study",
    "picto",
    "study",
    (f"accuracy-{SHOTS}", f"gains-{SHOTS}", "efficiency", "retention"),
    ("shots", "gains", "efficiency", "retention"),
)
PHOTOS = Study(
    "photo-study",
    "photo",
    "photo-study",
    ("accuracy-1", "accuracy-4", f"accuracy-{SHOTS}"),
    ("shots",),
)
STUDIES = (PICTOGRAMS, PHOTOS)
HEADER = [
    "strategy", "Fashion-MNIST", "natural", "structured", "all seven", "trained parameters",
    "length",
]  # fmt: skip


def markdown(study: Study, name: str) -> str:
    """Return a table of a study's report."""
    from fewtune.reports import tables

    return tables.markdown(_report(study).tables[f"{study.backbone}-{name}"])


def summary() -> list[list[str]]:
    """Return the cells of the README's table: a row for each method on pictograms."""
    from fewtune.reports.study_tables import by_group

    report = _report(PICTOGRAMS)
    groups = by_group(report.runs, report.groups)
    return [_row(report.runs, method, groups) for method in report.runs.methods]


def drawings() -> Iterator[tuple[Path, str]]:
    """Yield the figures that the pages show: where they belong, and their SVG."""
    from fewtune.reports.figures import alone

    for study in STUDIES:
        for name in study.drawn:
            figure = _report(study).figures[f"{study.backbone}-{name}"]
            target = ROOT / "docs" / study.prefix / f"{name}.svg"
            yield target, alone(figure.svg, f"{figure.title}. {figure.caption}")


@dataclass(frozen=True)
class _Report:
    """A study's runs and groups of tasks, and tables and figures of its report by name."""

    runs: Any
    groups: Mapping[str, str]
    tables: dict[str, Any]
    figures: dict[str, Any]


@cache
def _report(of: Study) -> _Report:
    from fewtune.core.toml import read_toml
    from fewtune.reports.packed_records import opened
    from fewtune.reports.published_scores import TOLERANCE
    from fewtune.reports.report_sections import Figure, sections
    from fewtune.reports.reproduction import Experiment
    from fewtune.reports.study_runs import group, load_runs
    from fewtune.reports.tables import ReportTable

    place = ROOT / "experiments" / of.name
    sweep = place.with_suffix(".toml")
    groups = Experiment.of(read_toml(sweep), sweep).groups
    with opened([place.with_suffix(".tar.xz")]) as folders:
        (study,) = group(load_runs(folders)[0])
        shown = sections(folders, [study], groups, [], TOLERANCE)
        every = [one for section in shown for one in section.every()]
        return _Report(
            study,
            groups,
            {one.name: one for one in every if isinstance(one, ReportTable)},
            {one.name: one for one in every if isinstance(one, Figure)},
        )


def _row(study: Any, method: Any, groups: Any) -> list[str]:
    from fewtune.core.percentages import percent, with_spread
    from fewtune.reports.summary import steps_scale

    of_groups = (groups[name] for name in ("natural", "structured"))
    means = [mean(study.cell(method, t, SHOTS).mean for t in tasks) for tasks in of_groups]
    own = study.cell(method, OWN_COLUMN, SHOTS)
    cost = own.runs[0].record["cost"]
    scale = steps_scale(own.runs[0].record)
    length = "" if not cost["steps"] else "full" if scale == 1 else f"× {scale:g}"
    return [
        f"`{method.strategy}`",
        with_spread(percent(own.mean), own.spread),
        *map(percent, [*means, study.average(method, SHOTS)]),
        f"{cost['trained_parameters']:,}",
        length,
    ]
