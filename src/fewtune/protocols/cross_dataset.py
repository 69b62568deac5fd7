"""Cross-dataset: trained on 16 images of each ImageNet class, tested on ten other datasets.

Zhou et al., "Conditional Prompt Learning for Vision-Language Models", CVPR 2022, section 4.2: the
whole test split of each target among its own classes, with its own prompts, without training there.
The average leaves ImageNet out. Here CLIPFit is trained for 10 epochs, as its authors do; its
lambda for transfer is not published, so it stays at its default.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from pydantic import Field

from fewtune.core.protocol import (
    Case,
    Options,
    Protocol,
    Score,
    Scores,
    ScoreTable,
    Target,
    Value,
    average,
)
from fewtune.protocols.few_shot import ELEVEN


class CrossDataset(Protocol):
    """Accuracy on datasets that the model was not tuned on."""

    title = "Cross-dataset transfer"
    paper = "zhou2022cocoop"

    source: str = Field(ELEVEN[0], description="dataset to train on")
    targets: tuple[str, ...] = Field(
        ELEVEN[1:], min_length=1, description="datasets to test on, without training there"
    )
    shots: int = Field(16, ge=1, description="training images per class")
    options: dict[str, Options] = Field(default_factory=lambda: {"clipfit": {"length": 10}})

    def cases(self, scores: Iterable[Score] = ()) -> tuple[Case, ...]:
        """Return strategies x seeds on the source."""
        return tuple(case for strategy in self.strategies for case in self._cell(strategy))

    def tables(self, scores: Iterable[Score]) -> tuple[ScoreTable, ...]:
        """Return one table: the source, the targets, and the targets' average."""
        known = Scores(scores)
        title = f" from {self.source}, {self.shots} shot{'s' * (self.shots > 1)}"
        columns = (self.source, *self.targets, "average of targets")
        return (self.table("", title, columns, partial(self._row, known)),)

    def _row(self, known: Scores, strategy: str) -> Sequence[Value | None]:
        cases = self._cell(strategy)
        values = [known.value(cases, target) for target in self._elsewhere()]
        return [known.value(cases), *values, average(values)]

    def _elsewhere(self) -> tuple[Target, ...]:
        return tuple(Target(data=data) for data in self.targets)

    def _cell(self, strategy: str) -> tuple[Case, ...]:
        return self.over_seeds(strategy, self.source, shots=self.shots, elsewhere=self._elsewhere())
