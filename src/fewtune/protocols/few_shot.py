"""Few-shot: eleven datasets, 1 to 16 images per class, three seeds.

Radford et al., ICML 2021, and Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV
2022, section 4.1: all classes, the full test split, mean over seeds. VTAB tasks may take the place
of the eleven; their shots are drawn from the whole training split. Papers differ in templates and
draws (`prompts`, `draw`); validation images are at most 4 per class.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from pydantic import Field, PositiveInt

from fewtune.core.protocol import Case, Protocol, Score, Scores, ScoreTable, Value, average

ELEVEN = tuple(
    f"fewshot/{name}"
    for name in (
        "imagenet",
        "sun397",
        "aircraft",
        "eurosat",
        "cars",
        "food101",
        "pets",
        "flowers102",
        "caltech101",
        "dtd",
        "ucf101",
    )
)


class FewShot(Protocol):
    """Accuracy against the number of training images per class."""

    title = "Few-shot classification"
    paper = "zhou2022coop"

    data: tuple[str, ...] = Field(ELEVEN, min_length=1, description="datasets by name or path")
    shots: tuple[PositiveInt, ...] = Field(
        (1, 2, 4, 8, 16), min_length=1, description="training images per class"
    )

    def cases(self, scores: Iterable[Score] = ()) -> tuple[Case, ...]:
        """Return strategies x shots x seeds of each dataset."""
        every = (
            case
            for data in self.data
            for strategy in self.strategies
            for shots in self.shots
            for case in self._cell(strategy, data, shots)
        )
        return tuple({case.key(): case for case in every}.values())

    def tables(self, scores: Iterable[Score]) -> tuple[ScoreTable, ...]:
        """Return a table for each number of shots, and one of the averages against the shots."""
        known = Scores(scores)
        columns = (*self.data, "average")
        tables = [
            self.table(
                f"-{shots}",
                f", {shots} shot{'s' * (shots > 1)}",
                columns,
                partial(self._row, known, shots=shots),
            )
            for shots in self.shots
        ]
        averages = self.table(
            "-averages",
            f", average of {len(self.data)} dataset{'s' * (len(self.data) > 1)}",
            tuple(map(str, self.shots)),
            lambda s: [self._row(known, s, shots=shots)[-1] for shots in self.shots],
        )
        return (*tables, averages)

    def _cell(self, strategy: str, data: str, shots: int) -> tuple[Case, ...]:
        subset = "full" if data.startswith("vtab/") else None
        return self.over_seeds(strategy, data, shots=shots, subset=subset)

    def _row(self, known: Scores, strategy: str, *, shots: int) -> Sequence[Value | None]:
        values = [known.value(self._cell(strategy, data, shots)) for data in self.data]
        return [*values, average(values)]
