"""Tables and figures of docs/pictogram-study.md and the README, from the packed records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "experiments" / "pictogram-study.tar.xz"
SWEEP = ROOT / "experiments" / "pictogram-study.toml"
FIGURES = ROOT / "docs" / "study"
BACKBONE = "picto"
SHOTS = 16
OWN_COLUMN = "fashion-mnist"
TABLES = (f"accuracy-{SHOTS}", f"gains-{SHOTS}", "efficiency", "retention")
DRAWN = ("shots", "gains", "efficiency", "retention")
HEADER = [
    "strategy", "Fashion-MNIST", "natural", "structured", "all seven", "trained parameters",
    "length",
]  # fmt: skip


def markdown(name: str) -> str:
    """Return a table of the study's report."""
    from fewtune.reports import tables

    return tables.markdown(_report().tables[f"{BACKBONE}-{name}"])


def summary() -> list[list[str]]:
    """Return the cells of the README's table: a row for each method."""
    return _report().rows


def drawings() -> Iterator[tuple[Path, str]]:
    """Yield the figures that the page shows: where they belong, and their SVG."""
    from fewtune.reports.figures import alone

    for name in DRAWN:
        figure = _report().figures[f"{BACKBONE}-{name}"]
        yield FIGURES / f"{name}.svg", alone(figure.svg, f"{figure.title}. {figure.caption}")


@dataclass(frozen=True)
class _Report:
    """Tables and figures of the study's report by name, and the README's rows."""

    tables: dict[str, Any]
    figures: dict[str, Any]
    rows: list[list[str]]


@cache
def _report() -> _Report:
    from fewtune.core.toml import read_toml
    from fewtune.reports.packed_records import opened
    from fewtune.reports.published_scores import TOLERANCE
    from fewtune.reports.report_sections import Figure, sections
    from fewtune.reports.reproduction import Experiment
    from fewtune.reports.study_runs import group, load_runs
    from fewtune.reports.study_tables import by_group
    from fewtune.reports.tables import ReportTable

    groups = Experiment.of(read_toml(SWEEP), SWEEP).groups
    with opened([RECORDS]) as folders:
        (study,) = group(load_runs(folders)[0])
        shown = sections(folders, [study], groups, [], TOLERANCE)
        every = [one for section in shown for one in section.every()]
        return _Report(
            {one.name: one for one in every if isinstance(one, ReportTable)},
            {one.name: one for one in every if isinstance(one, Figure)},
            [_row(study, method, by_group(study, groups)) for method in study.methods],
        )


def _row(study: Any, method: Any, groups: dict[str, list[str]]) -> list[str]:
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
