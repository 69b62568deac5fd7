"""Trials that Optuna's TPE asks for, as a function of the scores so far.

A study lives in memory. It goes on from what it was told before, or is made again from its
beginning, which gives the same: the sampler is seeded, and one trial is asked for at a time.
"""

from collections.abc import Callable, Iterator
from typing import Any

from fewtune.core.errors import ConfigError
from fewtune.core.search_result import Trial
from fewtune.sweeps.search_space import Dimension, Range, Space


class OptunaStudy:
    """A study of one space; ConfigError if Optuna is not installed."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        self.seed = seed
        self._optuna = _optuna()
        self._begin()

    def trials(self, count: int, look: Callable[[dict[str, Any]], Trial]) -> Iterator[Trial]:
        """Yield the trials up to the first that has not ended.

        Args:
            look: Returns what has become of a trial.
        """
        for index in range(count):
            made = look(self._values(index))
            yield made
            if not made.ended:
                return
            self._tell(index, made)

    def _begin(self) -> None:
        sampler = self._optuna.samplers.TPESampler(seed=self.seed)
        self._study = self._optuna.create_study(direction="maximize", sampler=sampler)
        self._asked: list[Any] = []
        self._told: list[Trial] = []

    def _values(self, index: int) -> dict[str, Any]:
        """Return what is tried after `index` trials have been told."""
        if index == len(self._asked):
            names = {key: self._distribution(place) for key, place in self.space.items()}
            self._asked.append(self._study.ask(names))
        params = self._asked[index].params
        return {key: _taken(place, params[key]) for key, place in self.space.items()}

    def _tell(self, index: int, made: Trial) -> None:
        if index < len(self._told):
            if self._told[index] == made:
                return
            earlier = self._told[:index]
            self._begin()
            for place, one in enumerate(earlier):
                self._values(place)
                self._tell(place, one)
            self._values(index)
        failed = self._optuna.trial.TrialState.FAIL if made.top1 is None else None
        self._study.tell(self._asked[index], made.top1, failed)
        self._told.append(made)

    def _distribution(self, dimension: Dimension) -> Any:
        kinds = self._optuna.distributions
        if not isinstance(dimension, Range):
            return kinds.CategoricalDistribution(range(len(dimension)))
        kind = kinds.IntDistribution if dimension.whole else kinds.FloatDistribution
        return kind(dimension.low, dimension.high, log=dimension.log)


def _taken(dimension: Dimension, value: Any) -> Any:
    return dimension.nearest(value) if isinstance(dimension, Range) else dimension[value]


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            'method = "optuna" needs Optuna, which is not installed.',
            hint='Try: pip install "fewtune[search]"',
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
