"""Ablations: accuracy over the settings of a strategy that a sweep has varied.

Read from the records of runs, whatever their strategy: what differs between them is the axes. The
reference is the strategy's default settings where they are among the runs.
"""

import typing
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewtune.core.errors import ConfigError, RunError, did_you_mean
from fewtune.core.naming import brief, dashed
from fewtune.core.spec import ZERO_SHOT, Recipe
from fewtune.model.load_strategy import declared_strategy
from fewtune.reports.study_runs import Cell, Run, load_runs, refuse_mixed
from fewtune.reports.summary import Record, shots_text, steps_scale, strategy_of

Value = str | int | float | bool | None
Setting = tuple[Value, ...]


@dataclass(frozen=True)
class Ablation:
    """The runs of one strategy on one task, by what was varied.

    Attributes:
        axes: Values of each varied option, in order, by its flag's name without dashes before it.
        reference: The setting that others are compared with, one value per axis.
        zero_shot: Top-1, in [0, 1], of the zero-shot run next to them, if there is one.
    """

    strategy: str
    title: str
    task: str
    backbone: str
    shots: int | None
    axes: Mapping[str, tuple[Value, ...]]
    reference: Setting
    scores: Mapping[Setting, Cell]
    zero_shot: float | None

    @property
    def name(self) -> str:
        """Part of file names."""
        parts = [self.strategy, self.task, self.backbone, shots_text(self.shots)]
        return "-".join(parts).replace("/", "-").replace(" ", "-")

    def heading(self) -> str:
        """Return a title for figures."""
        return f"{self.title} on {self.task}, {shots_text(self.shots)}, {self.backbone}"

    def at(self, **values: Value) -> Cell | None:
        """Return the score of the reference with some values changed; None for a hole."""
        places = dict(zip(self.axes, self.reference, strict=True)) | values
        return self.scores.get(tuple(places.values()))

    def joint(self, *axes: str) -> bool:
        """Whether there is a setting in which these options, and no others, leave the reference."""
        return any(set(self.changes(setting)) == set(axes) for setting in self.scores)

    def changes(self, setting: Setting) -> dict[str, Value]:
        """Return the options of a setting that leave the reference."""
        every = zip(self.axes, setting, self.reference, strict=True)
        return {name: value for name, value, usual in every if value != usual}


def read(places: Sequence[Path], *, mixed: bool = False) -> list[Ablation]:
    """Return an ablation for each strategy, task, backbone and number of shots that has one.

    Args:
        mixed: As for reports: accept runs of several versions or states of the images.

    Raises:
        RunError: There are no runs, they cannot be compared, or no option was varied.
    """
    runs, _ = load_runs(places)
    if not mixed:
        refuse_mixed(runs)
    zero_shot = {
        (run.spec["task"], run.spec["backbone"]): run.top1
        for run in runs
        if run.spec["strategy"] == ZERO_SHOT
    }
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        spec = run.spec
        groups[spec["strategy"], spec["task"], spec["backbone"], spec["shots"]].append(run)
    found = [
        ablation
        for key, of in sorted(groups.items(), key=lambda item: str(item[0]))
        if (ablation := _ablation(of, zero_shot.get(key[1:3]))) is not None
    ]
    if not found:
        raise RunError(
            f"No option of a strategy was varied among these {len(runs)} runs.",
            hint="`fewtune sweep experiments/clip-lora-figure-3.toml` makes runs that do.",
        )
    return found


def _ablation(runs: Sequence[Run], zero_shot: float | None) -> Ablation | None:
    every = [settings(run.record) for run in runs]
    axes = {
        name: _ordered(runs[0].spec["strategy"], name, {of[name] for of in every})
        for name in every[0]
        if len({of[name] for of in every}) > 1
    }
    if not axes:
        return None
    cells: dict[Setting, list[Run]] = defaultdict(list)
    for run, of in sorted(zip(runs, every, strict=True), key=lambda pair: pair[0].spec["seed"]):
        cells[tuple(of[name] for name in axes)].append(run)
    spec = runs[0].spec
    return Ablation(
        spec["strategy"],
        strategy_of(runs[0].record).title,
        spec["task"],
        spec["backbone"],
        spec["shots"],
        axes,
        _reference(spec["strategy"], spec["shots"], list(axes), cells),
        {setting: Cell(tuple(cells[setting])) for setting in sorted(cells, key=str)},
        zero_shot,
    )


def _ordered(strategy: str, name: str, values: set[Value]) -> tuple[Value, ...]:
    """Return numbers by size, choices as they are declared, other words by length."""
    kind = declared_strategy(strategy)
    for model in (kind, Recipe):
        for field, info in model.model_fields.items():
            if dashed(field) == name:
                declared = [c for c in typing.get_args(info.annotation) if c in values]
                if len(declared) == len(values):
                    return tuple(declared)
    numbers = all(isinstance(value, int | float) for value in values)
    return tuple(sorted(values, key=lambda v: (v, "") if numbers else (len(str(v)), str(v))))


def _reference(
    strategy: str, shots: int | None, axes: Sequence[str], found: Mapping[Setting, object]
) -> Setting:
    """Return the default setting; where a default does not occur, the most frequent value."""
    plain = declared_strategy(strategy)()
    recipe = plain.recipe_for(shots)
    default = {**(recipe.model_dump(mode="json") if recipe else {}), "steps_scale": 1.0}
    default |= plain.model_dump(mode="json") | {"templates": "all"}
    named = {dashed(name): value for name, value in default.items()}
    values: list[Value] = []
    for index, axis in enumerate(axes):
        counts = Counter(setting[index] for setting in found)
        usual = max(counts, key=lambda value: (counts[value], str(value)))
        values.append(named[axis] if named.get(axis) in counts else usual)
    return tuple(values)


def shape(ablation: Ablation, x: str | None = None, lines: str | None = None) -> list[str]:
    """Return the axes of the figure with lines: x, lines, columns and rows of panels, if any.

    Left to choose, x is the numeric option with the most values, and lines are the other option
    with the most among those that were varied together with it. Empty if there is no such pair.

    Raises:
        ConfigError: A named option was not varied.
    """
    for name in (x, lines):
        if name is not None and name not in ablation.axes:
            raise ConfigError(
                f"{name!r} was not varied among these runs of {ablation.strategy}.",
                hint=did_you_mean(name, ablation.axes),
            )
    by_size = sorted(ablation.axes, key=lambda name: -len(ablation.axes[name]))
    if x is None:
        x = next((n for n in by_size if n != lines and numeric(ablation.axes[n])), None)
    if x is None:
        return []
    others = [n for n in by_size if n != x and ablation.joint(x, n)]
    if lines is None:
        lines = next(iter(others), None)
    if lines is None:
        return []
    panels = [n for n in others if n != lines and ablation.joint(x, lines, n)]
    return [x, lines, *panels[:2]]


def numeric(values: Sequence[Value]) -> bool:
    """Whether all values are numbers, which lines may join."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def pairs(ablation: Ablation, drawn: Sequence[str]) -> list[tuple[str, str]]:
    """Return the options that were varied together, two at a time, but those drawn already."""
    names = list(ablation.axes)
    return [
        (a, b)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if not {a, b} <= set(drawn) and ablation.joint(a, b)
    ]


def table(ablation: Ablation) -> list[dict[str, Any]]:
    """Return a row for each setting."""
    return [
        {
            **_subject(ablation),
            **dict(zip(ablation.axes, setting, strict=True)),
            **_score(score),
        }
        for setting, score in ablation.scores.items()
    ]


def _subject(ablation: Ablation) -> dict[str, Any]:
    return {name: getattr(ablation, name) for name in ("strategy", "task", "backbone", "shots")}


def _score(cell: Cell) -> dict[str, Any]:
    return {"seeds": len(cell.runs), "top1_mean": cell.mean, "top1_spread": cell.spread}


def one_at_a_time(ablation: Ablation) -> Iterator[tuple[str, Value, Cell]]:
    """Yield each value of each option with all others at the reference; holes are left out."""
    for name, values in ablation.axes.items():
        for value in values:
            score = ablation.at(**{name: value})
            if score is not None:
                yield name, value, score


def facts(ablation: Ablation) -> dict[str, Any]:
    """Return what was varied, the reference, and the scores around it."""
    return {
        **_subject(ablation),
        "axes": {name: list(values) for name, values in ablation.axes.items()},
        "reference": dict(zip(ablation.axes, ablation.reference, strict=True)),
        "zero_shot": ablation.zero_shot,
        "one_at_a_time": [
            {"option": name, "value": value, **_score(score)}
            for name, value, score in one_at_a_time(ablation)
        ],
        "settings": table(ablation),
    }


def settings(record: Record) -> dict[str, Value]:
    """Return every option and recipe field of a run, by the name of its flag."""
    spec = record["spec"]
    options = strategy_of(record).model_dump(mode="json")
    flat = {**(spec["recipe"] or {}), **options, "templates": spec["templates"]}
    return {dashed(name): value for name, value in flat.items()} | {
        "steps-scale": steps_scale(record)
    }


def labels(records: Sequence[Record]) -> list[str]:
    """Return what tells runs apart: the title, and in brackets what differs.

    Options are compared among the runs of one strategy; task, backbone, shots and seed among all.
    """
    places = [_place(record["spec"]) for record in records]
    options = [settings(record) for record in records]
    strategies = [record["spec"]["strategy"] for record in records]
    found = []
    for index, record in enumerate(records):
        siblings = [
            o for o, name in zip(options, strategies, strict=True) if name == strategies[index]
        ]
        words = [word for i, word in enumerate(places[index]) if len({p[i] for p in places}) > 1]
        words += [
            f"{name} {brief(value)}"
            for name, value in options[index].items()
            if any(other.get(name) != value for other in siblings)
        ]
        title = strategy_of(record).title
        found.append(f"{title} ({', '.join(words)})" if words else title)
    return found


def _place(spec: Mapping[str, Any]) -> tuple[str, ...]:
    return spec["task"], spec["backbone"], shots_text(spec["shots"]), f"seed {spec['seed']}"
