"""Runs of a study: read from folders, checked, and grouped over their seeds.

Everything here is a pure function of records, so a report says the same wherever it is made.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from fewtune.core.errors import FewTuneError, RunError
from fewtune.core.files import read_json
from fewtune.core.naming import counted, present
from fewtune.core.spec import ZERO_SHOT, Spec
from fewtune.model.load_strategy import zero_shot_of
from fewtune.model.strategy import Strategy
from fewtune.reports import grouping
from fewtune.reports.grouping import Method, by_place, method_key
from fewtune.reports.summary import Record, strategy_of
from fewtune.sweeps.retention import Kept, read_kept

# How a task's notes begin that name the source of its prompts, and that of a search's runs.
PROMPTS = "prompts: "
SEARCHED = "scored on validation images"


@dataclass(frozen=True)
class Run:
    """A complete run: one strategy, trained and tested once on one task."""

    folder: Path
    record: Record

    @property
    def spec(self) -> dict[str, Any]:
        """The record's spec."""
        spec: dict[str, Any] = self.record["spec"]
        return spec

    @cached_property
    def strategy(self) -> Strategy:
        """Its strategy with its options."""
        return strategy_of(self.record)

    @property
    def top1(self) -> float:
        """Test accuracy in [0, 1]."""
        return float(self.record["metrics"]["top1"])

    @property
    def test_images(self) -> int:
        """Images that it was tested on."""
        return int(self.record["task"]["images"]["test"])

    @property
    def prompts(self) -> str:
        """Source of the class prompts of a benchmark task; "" where it is not known."""
        notes = self.record["task"]["notes"]
        return present(next((n.removeprefix(PROMPTS) for n in notes if n.startswith(PROMPTS)), ""))

    @property
    def of_a_search(self) -> bool:
        """Whether it was scored on validation images, as a step of a search."""
        return SEARCHED in self.record["task"]["notes"]


@dataclass(frozen=True)
class Cell:
    """The runs of one method on one task with one number of shots, over seeds."""

    runs: tuple[Run, ...]

    @property
    def scores(self) -> tuple[float, ...]:
        """Top-1 of each seed."""
        return tuple(run.top1 for run in self.runs)

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return mean(self.scores)

    @cached_property
    def kept(self) -> tuple[Kept, ...]:
        """Top-1 on the other tasks, of every run and task that was measured."""
        return tuple(kept for run in self.runs for kept in read_kept(run.folder).values())

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None for a single one."""
        return stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Study:
    """All cells of one backbone.

    Attributes:
        cells: By (method key, task, shots). Zero-shot stands under shots None alone.
        notes: What a reader must know ("2 runs are incomplete").
    """

    backbone: str
    methods: tuple[Method, ...]
    tasks: tuple[str, ...]
    shots: tuple[int | None, ...]
    cells: Mapping[tuple[str, str, int | None], Cell]
    notes: tuple[str, ...] = ()

    def cell(self, method: Method, task: str, shots: int | None) -> Cell | None:
        """Return a cell, or None for a hole; zero-shot is the same at every number of shots."""
        return self.cells.get((method.key, task, None if method.strategy == ZERO_SHOT else shots))

    def tuned(self) -> tuple[Method, ...]:
        """Return the methods but zero-shot."""
        return tuple(method for method in self.methods if method.strategy != ZERO_SHOT)

    @cached_property
    def main_shots(self) -> int | None:
        """Number of shots with the most runs, the largest of several; None is all images."""
        counts = Counter(
            shots
            for method in self.tuned()
            for shots in self.shots
            for task in self.tasks
            if (cell := self.cell(method, task, shots))
            for _ in cell.runs
        )
        return max(self.shots, key=lambda s: (counts[s], self.shots.index(s)), default=None)

    def best(self, task: str) -> tuple[Method, Cell] | None:
        """Return the best method on a task, zero-shot apart, and its runs."""
        found = ((m, cell) for m in self.tuned() if (cell := self.cell(m, task, self.main_shots)))
        return max(found, key=lambda pair: pair[1].mean, default=None)

    @property
    def length(self) -> str:
        """Share of the recipes' length that all were trained for: ", × 0.1 steps", or ""."""
        scales = {method.steps_scale for method in self.tuned()}
        return f", × {scales.pop():.2g} steps" if len(scales) == 1 and scales != {1} else ""

    def of(self, method: Method, shots: int | None) -> tuple[Cell | None, ...]:
        """Return a method's cells, one per task; None for a hole."""
        return tuple(self.cell(method, task, shots) for task in self.tasks)

    def runs(self, method: Method, shots: int | None) -> tuple[Run, ...]:
        """Return a method's runs on all tasks."""
        return tuple(run for cell in self.of(method, shots) if cell for run in cell.runs)

    def average(self, method: Method, shots: int | None) -> float | None:
        """Return the mean over tasks; None if there is a hole."""
        cells = [cell for cell in self.of(method, shots) if cell]
        return mean(cell.mean for cell in cells) if len(cells) == len(self.tasks) else None

    def gain(self, method: Method, task: str, shots: int | None) -> float | None:
        """Return the mean gain over the zero-shot runs with the same prompts and pixels.

        None for a hole, and where one of these runs is missing.
        """
        cell = self.cell(method, task, shots)
        if cell is None:
            return None
        pairs = [(run.top1, self.baseline(run)) for run in cell.runs]
        gains = [top1 - base.top1 for top1, base in pairs if base]
        return mean(gains) if len(gains) == len(pairs) else None

    def baseline(self, run: Run) -> Run | None:
        """Return the zero-shot run with the same prompts and pixels, if it is there."""
        return self._by_hash.get(zero_shot_of(Spec.model_validate(run.spec)).hash())

    @cached_property
    def _by_hash(self) -> dict[str, Run]:
        return {run.record["hash"]: run for cell in self.cells.values() for run in cell.runs}


def load_runs(places: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """Return the complete runs below some folders, in a fixed order, and notes on the others.

    Raises:
        RunError: There is no complete run.
    """
    places = list(places)
    files = sorted({file for place in places for file in place.rglob("spec.json")})
    runs, unfinished, searched, final, broken = {}, 0, 0, 0, []
    for file in files:
        folder = file.parent
        if not (folder / "record.json").exists():
            unfinished += 1
            continue
        try:
            record = read_json(folder / "record.json")
            run = Run(folder, record)
            float(record["metrics"].get("top1", 0)), record["environment"]["fewtune"]
            method_key(run), run.prompts, run.of_a_search
        except (FewTuneError, KeyError, TypeError, ValueError, AttributeError):
            broken.append(folder.name)
            continue
        if "top1" in record["metrics"] and not run.of_a_search:
            runs[record["hash"]] = run
        searched += run.of_a_search
        final += "measured" in record
    notes = []
    if unfinished:
        notes.append(f"{counted(unfinished, 'incomplete run')} left out")
    if searched:
        of = counted(searched, "run of a search", "runs of searches")
        notes.append(f"{of} left out: scored on validation images")
    if final:
        notes.append(f"{counted(final, 'final model')} left out: trained on all images")
    if broken:
        notes.append(f"unreadable, left out: {', '.join(broken[:5])}")
    if not runs:
        where = ", ".join(map(str, places))
        raise RunError(
            f"There are no complete runs in {where}.",
            hint="If yours are elsewhere: fewtune report DIR. To make some: fewtune quickstart, or "
            "fewtune fit --data DIR",
        )
    return [runs[key] for key in sorted(runs)], notes


def refuse_mixed(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot stand in one table.

    Raises:
        RunError: They come from several versions of FewTune, or one task has several fingerprints.
    """
    versions = sorted({run.record["environment"].get("fewtune", "?") for run in runs})
    if len(versions) > 1:
        raise RunError(
            f"These runs were made by several versions of fewtune: {', '.join(versions)}.",
            hint="Give one version's runs, or allow it: --mixed.",
        )
    prints: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        prints[run.spec["task"]].add(run.spec["data"])
    for task, found in sorted(prints.items()):
        if len(found) > 1:
            raise RunError(
                f"The runs of task '{task}' saw {len(found)} different sets of images or prompts.",
                hint="Give one set's runs, or allow it: --mixed.",
            )


def group(runs: Sequence[Run], notes: Sequence[str] = ()) -> list[Study]:
    """Return a study for each backbone, the one with the most runs first."""
    by_backbone: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_backbone[run.spec["backbone"]].append(run)
    most_first = sorted(by_backbone.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_study(name, of, notes) for name, of in most_first]


def _study(backbone: str, runs: Sequence[Run], notes: Sequence[str]) -> Study:
    by_method = grouping.by_method(runs)
    cells = {
        (key, *place): Cell(tuple(sorted(found, key=lambda run: run.spec["seed"])))
        for key, of in by_method.items()
        for place, found in by_place(of).items()
    }
    trained = [run for run in runs if run.spec["strategy"] != ZERO_SHOT]
    return Study(
        backbone,
        grouping.rows(by_method),
        tuple(sorted({run.spec["task"] for run in runs})),
        tuple(sorted({run.spec["shots"] for run in trained}, key=lambda s: (s is None, s or 0))),
        cells,
        tuple(notes),
    )
