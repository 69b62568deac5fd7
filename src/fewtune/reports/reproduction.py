"""Published scores next to ours, whatever the protocol: what agrees, differs and is missing.

Ours are means over seeds of runs with the strategy's default settings, or with settings that depend
on the task, and with the same class prompts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

from fewtune.core.defaults import DEFAULT_BACKBONE
from fewtune.core.errors import ConfigError
from fewtune.core.naming import present
from fewtune.core.percentages import percent, signed
from fewtune.core.spec import ZERO_SHOT
from fewtune.model.load_strategy import declared_strategy
from fewtune.reports.grouping import Method
from fewtune.reports.published_scores import (
    TOLERANCE,
    PublishedPlace,
    PublishedScore,
    published,
    read,
    same_prompts,
    scores,
)
from fewtune.reports.study_runs import Run, Study
from fewtune.reports.summary import shots_text
from fewtune.reports.tables import DIFFERS, ReportTable, TableCell, TableRow, as_cell
from fewtune.sweeps.transfer_scores import read_scores

BASE, NEW = "-base", "-new"
PUBLISHED = "published"


@dataclass(frozen=True)
class Experiment:
    """An experiment as its sweep file describes it for a report.

    Attributes:
        prompts: Source of the class prompts; "default" for that of each dataset.
        tolerance: How far the mean over seeds on one task may be off, in [0, 1].
        groups: Group of tasks ("structured"), in addition to those that datasets are declared in.
    """

    title: str
    expected: tuple[str, ...]
    strategies: frozenset[str]
    backbones: frozenset[str]
    prompts: str = "default"
    tolerance: float = TOLERANCE
    groups: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any], file: Path) -> Experiment:
        """Return title, expected scores, tolerance in points, and groups of tasks of a sweep file.

        Raises:
            ConfigError: It expects nothing and groups nothing, or its groups are no lists.
        """
        if not values.get("expected") and not values.get("groups"):
            raise ConfigError(
                f"{file} says neither what to expect nor how to group its tasks.",
                hint='For example: expected = ["clip_lora"]',
            )
        strategies = _several(values.get("strategies", values.get("strategy")))
        return cls(
            str(values.get("title", file.stem)),
            tuple(_several(values.get("expected"))),
            frozenset((ZERO_SHOT, *strategies)),
            frozenset(_several(values.get("backbone", DEFAULT_BACKBONE))),
            present(str(values.get("prompts", "default"))),
            values.get("tolerance", 100 * TOLERANCE) / 100,
            _groups(values.get("groups", {}), file),
        )

    def places(self) -> list[PublishedPlace]:
        """Return the places of the scores that it is expected to give.

        Raises:
            ConfigError: There are no such published scores.
        """
        return [
            place
            for name in self.expected
            for place, score in read(name)
            if place.strategy in self.strategies
            and place.backbone in self.backbones
            and all(same_prompts(task, self.prompts, score.prompts) for task in place.tasks)
        ]


@dataclass(frozen=True)
class Comparison:
    """A published score and ours; None where it was not measured."""

    place: PublishedPlace
    score: PublishedScore
    ours: float | None
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether ours is as near as a faithful run's would be."""
        return self.ours is not None and self.score.agrees(self.ours, self.tolerance)

    @property
    def differs(self) -> bool:
        """Whether ours is known and further off than that."""
        return self.ours is not None and not self.agrees

    def sentence(self) -> str:
        """Return both scores in words."""
        ours = "not measured" if self.ours is None else percent(self.ours)
        return f"{self.text()}: {ours} here, {self.score.text()} published."

    def text(self) -> str:
        """Return what it is of, in words."""
        name, place = declared_strategy(self.place.strategy).title, self.place
        of = "average" if self.score.average else ", ".join(place.tasks)
        classes = "" if place.classes == "all" else f", {place.classes}"
        drawn = "" if place.strategy == ZERO_SHOT else f", {shots_text(place.shots)}"
        start = f", trained on {place.trained_on}" if place.trained_on else ""
        return f"{name}, {place.backbone}, {of}{classes}{drawn}{start}"


@dataclass(frozen=True)
class _Measured:
    """Means over seeds of one method by place of a single task, and the prompts of each task."""

    top1: Mapping[PublishedPlace, float]
    prompts: Mapping[str, str] = field(default_factory=dict)

    def get(self, place: PublishedPlace) -> float | None:
        if place.classes == "harmonic mean":
            base, new = (self.get(replace(place, classes=half)) for half in ("base", "new"))
            return 2 * base * new / (base + new) if base and new else None
        found = [self.top1.get(replace(place, tasks=frozenset((t,)))) for t in place.tasks]
        known = [value for value in found if value is not None]
        return mean(known) if len(known) == len(found) else None


def compare(studies: Sequence[Study], experiment: Experiment | None = None) -> list[Comparison]:
    """Return the published scores that these runs have something to say about.

    Args:
        experiment: Compare with what it expects alone, and name what is missing.

    Raises:
        ConfigError: The experiment expects what is not there.
    """
    wanted = experiment.places() if experiment else list(scores())
    tolerance = experiment.tolerance if experiment else TOLERANCE
    every = [(study, m, _measured(study, m)) for study in studies for m in study.methods
             if m.as_published and m.steps_scale == 1]  # fmt: skip
    found = []
    for place in wanted:
        of = [known for study, m, known in every
              if (study.backbone, m.strategy) == (place.backbone, place.strategy)]  # fmt: skip
        measured = [(known, published(place, known.prompts)) for known in of]
        pairs = [(score, known.get(place)) for known, score in measured if score]
        best = next((pair for pair in pairs if pair[1] is not None), None)
        if best:
            found.append(Comparison(place, *best, tolerance))
        elif experiment:
            found.append(Comparison(place, scores()[place][0], None, tolerance))
    return sorted(found, key=lambda one: (one.score.file, one.score.average, one.text()))


def summary(comparisons: Sequence[Comparison], tolerance: float) -> str:
    """Return a sentence on how many agree, differ, and are missing."""
    known = [one for one in comparisons if one.ours is not None]
    agree = sum(one.agrees for one in known)
    missing = len(comparisons) - len(known)
    return (
        f"{agree} of {len(known)} published scores are met within {100 * tolerance:g} points, "
        f"averages within {25 * tolerance:g}"
        + (f"; {missing} more are expected and not measured here." if missing else ".")
    )


def table(comparisons: Sequence[Comparison], tolerance: float) -> ReportTable:
    """Return a row for each published score."""
    rows = [
        TableRow(one.text(), (TableCell(one.score.text()), as_cell(one.ours), _difference(one)))
        for one in comparisons
    ]
    sources = "; ".join(dict.fromkeys(one.score.source for one in comparisons))
    return ReportTable(
        PUBLISHED,
        "Published scores next to ours",
        ("", "published", "here", "difference"),
        tuple(rows),
        (summary(comparisons, tolerance), f"Published: {sources}."),
        tuple(one.sentence() for one in comparisons if one.differs),
    )


def _difference(one: Comparison) -> TableCell:
    off = as_cell(None if one.ours is None else one.ours - one.score.top1, signed)
    return replace(off, text=off.text + DIFFERS) if one.differs else off


def _several(value: Any) -> list[str]:
    return [] if value is None else [str(v) for v in value] if isinstance(value, list) else [value]


def _groups(tables: Any, file: Path) -> dict[str, str]:
    if not isinstance(tables, Mapping) or not all(isinstance(of, list) for of in tables.values()):
        raise ConfigError(
            f"{file}: groups must be lists of tasks.",
            hint='For example: groups = {structured = ["scene-count"]}',
        )
    return {str(task): group for group, of in tables.items() for task in of}


def _measured(study: Study, method: Method) -> _Measured:
    top1: dict[PublishedPlace, list[float]] = defaultdict(list)
    prompts: dict[str, str] = {}
    for (key, _, _), cell in study.cells.items():
        for run in cell.runs if key == method.key else ():
            for place, score in _of(run, study.backbone):
                top1[place].append(score)
                prompts |= dict.fromkeys(place.tasks, run.prompts)
    return _Measured({place: mean(of) for place, of in top1.items()}, prompts)


def _of(run: Run, backbone: str) -> Iterator[tuple[PublishedPlace, float]]:
    """Yield the scores of a run: on its own test images, and elsewhere."""
    strategy, shots = run.spec["strategy"], run.spec["shots"]
    whole = run.spec["task"].removesuffix(BASE)
    place = PublishedPlace(strategy, backbone, frozenset((whole,)), shots)
    yield (place if whole == run.spec["task"] else replace(place, classes="base")), run.top1
    start = "" if strategy == ZERO_SHOT else whole
    for task, score in read_scores(run.folder).items():
        if score["top1"] is None:
            continue
        if task == whole + NEW:
            yield replace(place, classes="new"), score["top1"]
        else:
            yield replace(place, tasks=frozenset((task,)), trained_on=start), score["top1"]
