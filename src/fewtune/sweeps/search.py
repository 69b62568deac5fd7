"""Hyper-parameter search: many runs scored on validation images decide the values of a few.

A sweep file with a table [search] is a search. Its tables name what is tried for a strategy:

strategy = ["clip-lora", "clip-adapter"]
data = "my-images"
shots = [4, 16]
seed = [1, 2, 3]

[search]
method = "random"      # "grid" tries every combination of lists; "random", "optuna" try so many
trials = 20
seed = 0               # of the trials' runs, and of what is random in the method

[search.clip-adapter]
ratio = [0.2, 0.6]
lr = {low = 1e-5, high = 1e-1, log = true}

For each strategy, dataset, number of shots and whatever else the file lists, all trials are run on
the draw of one seed and scored on its validation images; then the final runs of all seeds get the
best values. What is tried next follows from the scores alone, so a search that was stopped goes on
as if it had not been.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fewtune.core.errors import ConfigError
from fewtune.core.naming import dashed
from fewtune.core.protocol import Case, Score, Scores
from fewtune.core.run_config import ExecutionSettings, RunConfig
from fewtune.core.search_result import Search, Trial
from fewtune.core.toml import named_in
from fewtune.sweeps.optuna_study import OptunaStudy
from fewtune.sweeps.search_space import Dimension, Range, Settings, Space, read_settings

if TYPE_CHECKING:
    from fewtune.sweeps.runner import CaseSource

Values = dict[str, Any]
TIES = "the first in the order of the trials"


@dataclass(frozen=True)
class _Group:
    """Final runs that differ in their seeds, and the runs that decide their values."""

    finals: Sequence[Case]
    trials: Sequence[Case] = ()
    search: Search | None = None

    def cases(self) -> Sequence[Case]:
        """Return the runs that can be made by now."""
        if self.search is None:
            return self.finals
        best = self.search.best
        if best is None:
            return self.trials
        about = {"chosen_by": self.search.record()}
        finals = [
            case.model_copy(update={**about, "options": {**case.options, **best.values}})
            for case in self.finals
        ]
        return [*self.trials, *finals]


class Searches:
    """A source whose final runs get the values that trials chose.

    Raises:
        ConfigError: What is searched is an axis of the file too.
    """

    def __init__(self, source: CaseSource, settings: Settings) -> None:
        self.settings = settings
        self.finals = source.cases(())
        self._studies: dict[str, OptunaStudy] = {}
        for strategy, space in settings.spaces.items():
            for key in space:
                given = {repr(c.options.get(key)) for c in self.finals if c.strategy == strategy}
                if len(given) > 1:
                    raise ConfigError(
                        f"{key.replace('_', '-')} of {strategy} is searched, but the file has a "
                        "list of it too.",
                        hint="Take it out of the one or the other.",
                    )

    def cases(self, scores: Iterable[Score] = ()) -> tuple[Case, ...]:
        """Return the trials, and the final runs of the searches that have come to an end."""
        found: dict[str, Case] = {}
        for group in self._groups(Scores(scores)):
            for case in group.cases():
                found.setdefault(case.key(), case)
        return tuple(found.values())

    def failures(self, scores: Iterable[Score] = ()) -> tuple[tuple[Case, str], ...]:
        """Return the final runs as the file has them, and why each cannot be made; "" if it can."""
        return tuple(
            (case, group.search.failure)
            for group in self._groups(Scores(scores))
            if group.search
            for case in group.finals
        )

    def _groups(self, known: Scores) -> Iterator[_Group]:
        groups: dict[str, list[Case]] = {}
        for case in self.finals:
            groups.setdefault(case.model_copy(update={"seed": 0}).key(), []).append(case)
        for name, finals in groups.items():
            searched = finals[0].strategy in self.settings.spaces
            yield self._group(name, finals, known) if searched else _Group(finals)

    def _group(self, name: str, finals: Sequence[Case], known: Scores) -> _Group:
        trials: list[Case] = []

        def look(values: Values) -> Trial:
            case = self._trial(finals[0], values)
            trials.append(case)
            return Trial(values=values, top1=known.top1(case), error=known.error(case))

        return _Group(finals, trials, self._search(name, finals[0].strategy, look))

    def _trial(self, final: Case, values: Values) -> Case:
        settings = self.settings
        changes: Values = {"seed": settings.seed, "split": "val", "elsewhere": ()}
        # In options they would count more than the fields, which decide what the run may see.
        decided = {"score_on"}
        if settings.subset is not None:
            changes["subset"] = settings.subset
            decided.add("subset")
        changes["options"] = {
            key: value for key, value in {**final.options, **values}.items() if key not in decided
        }
        return final.model_copy(update=changes)

    def _search(self, group: str, strategy: str, look: Callable[[Values], Trial]) -> Search:
        settings, space = self.settings, self.settings.spaces[strategy]
        if settings.method == "optuna":
            assert settings.trials is not None
            study = self._studies.get(group) or OptunaStudy(space, settings.seed)
            self._studies[group] = study
            trials = tuple(study.trials(settings.trials, look))
            planned = settings.trials
        else:
            tried = (
                grid(space)
                if settings.trials is None
                else at_random(space, settings.trials, f"{settings.seed}\0{strategy}")
            )
            trials, planned = tuple(map(look, tried)), len(tried)
        return Search(
            method=settings.method,
            seed=settings.seed,
            about={} if settings.subset is None else {"subset": settings.subset},
            ties=TIES,
            trials=trials,
            planned=planned,
        )


def grid(space: Space) -> list[Values]:
    """Return every combination of lists, the last one changing fastest."""
    lists = [dimension for dimension in space.values() if not isinstance(dimension, Range)]
    return [dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*lists)]


def at_random(space: Space, trials: int, name: str) -> list[Values]:
    """Return so many different combinations that the random stream of `name` draws.

    All combinations, in the order of a grid, where there are no more.
    """
    if not any(isinstance(dimension, Range) for dimension in space.values()):
        every = grid(space)
        if len(every) <= trials:
            return every
    stream = random.Random(hashlib.sha256(name.encode()).digest())
    drawn: dict[str, Values] = {}
    for _ in range(100 * trials):  # a space of a few whole numbers may hold fewer
        values = {key: _drawn(dimension, stream.random()) for key, dimension in space.items()}
        drawn.setdefault(repr(values), values)
        if len(drawn) == trials:
            break
    return list(drawn.values())


def _drawn(dimension: Dimension, share: float) -> Any:
    if isinstance(dimension, Range):
        return dimension.at(share)
    return dimension[int(share * len(dimension))]


def searched(
    source: CaseSource,
    table: Any,
    where: str,
    named: Iterable[str],
    lists: Collection[str],
) -> Searches:
    """Return the source whose runs get what a search chooses.

    Args:
        table: The table [search] of a sweep file.

    Raises:
        ConfigError: A key or a value that may be tried is wrong; nothing was run then.
    """
    if not isinstance(table, dict):
        raise ConfigError(
            f"{where}: search is no table, found {table!r}.", hint='A table begins with "[search]".'
        )
    strategies = dict.fromkeys([*named, *(case.strategy for case in source.cases(()))])
    settings = read_settings(table, strategies, lists)
    for strategy, space in settings.spaces.items():
        for name, dimension in space.items():
            _check(strategy, name, dimension, where)
    return Searches(source, settings)


def _check(strategy: str, name: str, dimension: Dimension, where: str) -> None:
    """Try each value of a list, or the bounds of a range, as a run's."""
    from fewtune.training.named_recipes import configure

    if name in ExecutionSettings.model_fields:
        raise ConfigError(
            f"{where}: [search.{strategy}] {dashed(name)} does not decide the scores of a run."
        )
    for value in dimension if isinstance(dimension, tuple) else (dimension.low, dimension.high):
        unknown = f"{where} has the unknown key"
        with named_in(where, unknown):
            config = RunConfig.of({"strategy": strategy, name: value})
            configure(strategy, config.named_options(), unknown=unknown)
