"""Grouping of runs into methods: which runs share a row of a table, and what the row is called."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fewtune.core.discovery import strategy_names
from fewtune.core.naming import brief, dashed
from fewtune.core.spec import ZERO_SHOT, Recipe
from fewtune.reports.summary import steps_scale

if TYPE_CHECKING:
    from fewtune.reports.study_runs import Run

LINEAR_PROBE = "linear-probe"
FIRST = (ZERO_SHOT, LINEAR_PROBE)
# What tells two runs of a table row apart without making them two methods.
NOT_METHOD = frozenset({"task", "data", "backbone", "revision", "shots", "seed", "drawn"})

Place = tuple[str, int | None]


@dataclass(frozen=True)
class Method:
    """A row of the tables: a strategy with its options.

    Attributes:
        variant_of: The same text for methods that differ in their modality alone.
        label: Its title, and what tells it apart from the others of its strategy.
        steps_scale: Factor on the recipe's length, 1 for the published or default length.
        beside_other_scales: Whether other methods of the study were trained for another share.
        varies: Settings that depend on the task or on the shots.
        as_published: Options and recipe are the strategy's defaults, or depend on the task.
    """

    key: str
    variant_of: str
    strategy: str
    label: str
    modality: str
    steps_scale: float
    beside_other_scales: bool
    varies: tuple[str, ...]
    as_published: bool

    @property
    def title(self) -> str:
        """A row's title: its label, and its share of the recipe where others have another."""
        scaled = self.beside_other_scales and self.steps_scale != 1
        return self.label + (f" ×{self.steps_scale:.2g} steps" if scaled else "")


def method_key(run: Run) -> str:
    """Return the same text for runs of one strategy with the same settings."""
    return _text_of(_family(run), _settings(run))


def by_method(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each row.

    Settings that depend on the task or on the shots, as those of a search or of a paper's scripts,
    never stand side by side in one cell: they are one method.
    """
    exact: dict[str, list[Run]] = defaultdict(list)
    families: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        exact[method_key(run)].append(run)
    for key, of in exact.items():
        families[_text_of(_family(of[0]))].append(key)
    found = {}
    for family, keys in families.items():
        places = [place for key in keys for place in by_place(exact[key])]
        if len(keys) > 1 and len(set(places)) == len(places):
            found[family] = [run for key in keys for run in exact[key]]
        else:
            found |= {key: exact[key] for key in keys}
    return found


def by_place(runs: Iterable[Run]) -> dict[Place, list[Run]]:
    """Return the runs of each task and number of shots."""
    found: dict[Place, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.spec["task"], run.spec["shots"]].append(run)
    return found


def rows(of_methods: Mapping[str, Sequence[Run]]) -> tuple[Method, ...]:
    """Return the rows in their order, each labelled by what tells it from its siblings."""
    siblings: dict[str, list[dict[str, str]]] = defaultdict(list)
    for runs in of_methods.values():
        siblings[runs[0].spec["strategy"]].append(_shown(runs))
    scales = {
        steps_scale(of[0].record) for of in of_methods.values() if of[0].spec["recipe"] is not None
    }
    found = [
        _method(key, runs, siblings[runs[0].spec["strategy"]], len(scales) > 1)
        for key, runs in of_methods.items()
    ]
    order = [*FIRST, *(name for name in strategy_names() if name not in FIRST)]
    return tuple(sorted(found, key=lambda m: (order.index(m.strategy), m.label, -m.steps_scale)))


def _method(
    key: str, runs: Sequence[Run], siblings: Sequence[Mapping[str, str]], other_scales: bool
) -> Method:
    first = runs[0]
    strategy = first.strategy
    settings = sorted({_text_of(_settings(run)) for run in runs})
    every = [json.loads(text)[0] for text in settings]
    names = sorted(set().union(*every))
    words = _differences(_shown(runs), siblings)
    family = {k: v for k, v in _family(first).items() if k != "type"}
    return Method(
        key,
        _text_of(family, settings),
        first.spec["strategy"],
        " ".join([strategy.title, *([f"({', '.join(words)})"] if words else [])]),
        strategy.type,
        steps_scale(first.record),
        other_scales,
        tuple(dashed(n) for n in names if len({brief(s.get(n)) for s in every}) > 1),
        as_published=len(every) > 1 or every == [{}],
    )


def _family(run: Run) -> dict[str, Any]:
    """Return what runs of one method share in any case: all but options and recipe."""
    parts = {name: value for name, value in run.spec.items() if name not in NOT_METHOD}
    del parts["options"], parts["recipe"]
    if parts["time_budget_s"] is None:
        parts["steps_scale"] = steps_scale(run.record)
    return parts | {"type": run.strategy.type}


def _settings(run: Run) -> dict[str, Any]:
    """Return the options that were given, and what differs from the default recipe.

    A recipe that depends on the shots is the default at any of them.
    """
    strategy, given, shots = run.strategy, run.spec["recipe"], run.spec["shots"]
    options = {k: v for k, v in run.spec["options"].items() if k != "type"}
    if given is None:
        return options
    recipe = Recipe.model_validate(given).model_dump(mode="json")
    defaults = [strategy.recipe_for(s) for s in ([shots] if shots else [1, 4, 16, None])]
    changes = [
        {k: v for k, v in recipe.items() if v != default.model_dump(mode="json")[k]}
        for default in defaults
        if default
    ]
    return options | min(changes, key=len, default=recipe)


def _shown(runs: Sequence[Run]) -> dict[str, str]:
    """Return the text of everything in which methods of a strategy may differ."""
    every = [_flat(run) for run in runs]
    texts = {
        name: list(dict.fromkeys(brief(values.get(name)) for values in every))
        for name in sorted(set().union(*every))
    }
    return {name: of[0] if len(of) == 1 else "by task" for name, of in texts.items()}


def _flat(run: Run) -> dict[str, Any]:
    spec = {k: v for k, v in run.spec.items() if k not in NOT_METHOD}
    flat = {**run.strategy.model_dump(mode="json"), **(spec.pop("recipe") or {})}
    del spec["options"]
    return {**spec, **flat}


def _differences(own: Mapping[str, str], all_of_strategy: Sequence[Mapping[str, str]]) -> list[str]:
    return [
        value if name == "type" else f"{dashed(name)}={value}"
        for name, value in own.items()
        if any(other.get(name) != value for other in all_of_strategy) and name != "steps_scale"
    ]


def _text_of(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True)
