"""What a search has found: its trials with their validation scores, and the one that is chosen.

Searches differ in how they come to their trials. Choosing one, and what a record says of it, is the
same for all.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from fewtune.core.fields import Frozen
from fewtune.core.naming import brief, dashed
from fewtune.core.percentages import percent

Values = Mapping[str, Any]


class Trial(Frozen):
    """Values that are tried.

    Attributes:
        top1: On the validation images; None for a run that has failed or is still to be made.
    """

    values: dict[str, Any]
    top1: float | None = None
    error: str = ""

    @property
    def ended(self) -> bool:
        """Whether the run was made, well or not."""
        return self.top1 is not None or bool(self.error)


class Search(Frozen):
    """The trials that decide some final runs.

    Attributes:
        method: How values were come by: "grid", "random", "optuna".
        seed: Of the trials' runs, and of what is random in the method.
        about: What else a record says of it.
        ties: Which of several best trials is taken: the first in this order, in words.
        trials: In the order that breaks ties.
    """

    method: str
    seed: int
    about: dict[str, Any] = Field(default_factory=dict)
    ties: str
    trials: tuple[Trial, ...]
    planned: int

    @property
    def complete(self) -> bool:
        """Whether all trials have ended."""
        return len(self.trials) >= self.planned and all(trial.ended for trial in self.trials)

    @property
    def best(self) -> Trial | None:
        """The best trial; None before all have ended, and where all failed."""
        scored = [trial for trial in self.trials if trial.top1 is not None]
        return (
            max(scored, key=lambda trial: trial.top1 or 0.0) if self.complete and scored else None
        )

    @property
    def failure(self) -> str:
        """Why no trial can be chosen; "" as long as one may be."""
        if not self.complete or self.best is not None:
            return ""
        first = self.trials[0].error
        return f"All {len(self.trials)} trials of the search failed, the first with: {first}"

    def record(self) -> dict[str, Any]:
        """Return what the record of a final run says of its search.

        Raises:
            ValueError: Nothing is chosen.
        """
        best = self.best
        if best is None:
            raise ValueError("nothing is chosen")
        return {
            **self.about,
            "method": self.method,
            "seed": self.seed,
            "scored_on": "validation images",
            "chosen": best.values,
            "top1": best.top1,
            "ties": self.ties,
            "tied": sum(trial.top1 == best.top1 for trial in self.trials),
            "trials": [
                trial.model_dump(mode="json", exclude_defaults=True) for trial in self.trials
            ],
        }


def values_text(values: Values) -> str:
    """Return "lr 0.01, ratio 0.2"."""
    return ", ".join(f"{dashed(key)} {brief(value)}" for key, value in values.items())


def search_text(search: Mapping[str, Any]) -> str:
    """Return a line on `Search.record()`: what was chosen, among what, and how sure that is."""
    trials = search["trials"]
    text = (
        f"{values_text(search['chosen'])}: best of {len(trials)} trials ({search['method']}) with "
        f"{percent(search['top1'])} % of the validation images"
    )
    failed = sum("top1" not in trial for trial in trials)
    if failed:
        text += f"; {failed} failed"
    if search["tied"] > 1:
        text += f"; {search['tied']} are equal, of which this is {search['ties']}"
    return text
