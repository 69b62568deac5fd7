"""Base-to-new: trained on half of the classes, tested on each half among its own classes.

Zhou et al., "Conditional Prompt Learning for Vision-Language Models", CVPR 2022, section 4.1: the
first ceil(n / 2) classes in label order are base, the others new; 16 shots of the base classes. The
harmonic mean of the averages is that of average base and average new accuracy, not the average of
harmonic means. Strategies that only know their training classes have no new accuracy.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from pydantic import Field

from fewtune.core.protocol import (
    Case,
    Protocol,
    Score,
    Scores,
    ScoreTable,
    Target,
    Value,
    average,
    harmonic,
)
from fewtune.protocols.few_shot import ELEVEN

COLUMNS = ("base", "new", "harmonic mean")


class BaseToNew(Protocol):
    """Accuracy on the classes of training and on others of the same dataset."""

    title = "Base-to-new generalisation"
    paper = "zhou2022cocoop"

    data: tuple[str, ...] = Field(ELEVEN, min_length=1, description="datasets by name or path")
    shots: int = Field(16, ge=1, description="training images per class")

    def cases(self, scores: Iterable[Score] = ()) -> tuple[Case, ...]:
        """Return strategies x seeds on the base classes of each dataset."""
        return tuple(
            case
            for data in self.data
            for strategy in self.strategies
            for case in self._cell(strategy, data)
        )

    def tables(self, scores: Iterable[Score]) -> tuple[ScoreTable, ...]:
        """Return a table for each dataset, after one of the averages if there are several."""
        known = Scores(scores)
        each = tuple(self._table(known, data, (data,)) for data in self.data)
        if len(each) == 1:
            return each
        return (self._table(known, "average", self.data), *each)

    def _table(self, known: Scores, name: str, data: Sequence[str]) -> ScoreTable:
        row = partial(self._row, known, data)
        return self.table(f"-{name.replace('/', '-')}", f", {name}", COLUMNS, row)

    def _row(self, known: Scores, data: Sequence[str], strategy: str) -> Sequence[Value | None]:
        base = [known.value(self._cell(strategy, d)) for d in data]
        new = [known.value(self._cell(strategy, d), Target(data=d, classes="new")) for d in data]
        pair = (base[0], new[0]) if len(data) == 1 else (average(base), average(new))
        return [*pair, harmonic(*pair)]

    def _cell(self, strategy: str, data: str) -> tuple[Case, ...]:
        elsewhere = (Target(data=data, classes="new"),)
        return self.over_seeds(
            strategy, data, shots=self.shots, classes="base", elsewhere=elsewhere
        )
