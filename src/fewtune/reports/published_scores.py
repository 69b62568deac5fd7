"""Published scores of papers, to stand next to ours, marked as published.

`assets/published` has a file for each source. Scores that were read off a figure are bands, never
digits.
"""

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.percentages import percent
from fewtune.core.spec import ZERO_SHOT
from fewtune.datasets.catalog import load, names, task_name

FOLDER = Path(__file__).parents[1] / "assets" / "published"

# An independent run of CLIP-LoRA's code differed from its paper by 1 to 2 points on a dataset, and
# by at most 0.6 in averages over eight.
TOLERANCE = 0.02

Classes = Literal["all", "base", "new", "harmonic mean"]


@dataclass(frozen=True)
class PublishedPlace:
    """The setting that a score was measured in.

    Attributes:
        shots: Training images per class; None for none.
        classes: Those that were tested, or the harmonic mean of base and new.
        trained_on: The task that was trained on, where it is another one; "" otherwise.
    """

    strategy: str
    backbone: str
    tasks: frozenset[str]
    shots: int | None = None
    classes: Classes = "all"
    trained_on: str = ""


@dataclass(frozen=True)
class PublishedScore:
    """A published top-1, or a mean of several.

    Attributes:
        top1: In [0, 1].
        band: Half the width of its band, where it was read off a figure; 0 for a number.
        average: Whether it is a mean over tasks.
        file: Name of the file that it is from, without its ending.
    """

    top1: float
    band: float
    average: bool
    prompts: str
    source: str
    file: str

    def text(self) -> str:
        """Return "70.4", or "70.5 to 71.1" for a band."""
        if not self.band:
            return percent(self.top1)
        return f"{percent(self.top1 - self.band)} to {percent(self.top1 + self.band)}"

    def agrees(self, top1: float, tolerance: float = TOLERANCE) -> bool:
        """Return whether a score is as near as a faithful run's would be.

        Args:
            tolerance: How far the mean over seeds on one task may be; an average may be a quarter
                of that.
        """
        allowed = tolerance / 4 if self.average else tolerance
        return abs(top1 - self.top1) <= allowed + self.band + 1e-9


def published(place: PublishedPlace, prompts: Mapping[str, str]) -> PublishedScore | None:
    """Return what was published for a place with these class prompts, if anything was.

    Args:
        prompts: Source of the prompts of each task, "" where it is not known; a task that is
            missing is not compared.
    """
    for score in scores().get(place, ()):
        if all(same_prompts(task, prompts.get(task), score.prompts) for task in place.tasks):
            return score
    return None


@cache
def scores() -> Mapping[PublishedPlace, tuple[PublishedScore, ...]]:
    """Return all published scores."""
    found: dict[PublishedPlace, list[PublishedScore]] = defaultdict(list)
    for name in files():
        for place, score in read(name):
            found[place].append(score)
    return {place: tuple(of) for place, of in found.items()}


def files() -> tuple[str, ...]:
    """Return the names of all files, without their ending."""
    return tuple(path.stem for path in sorted(FOLDER.glob("*.toml")))


def read(name: str) -> Iterator[tuple[PublishedPlace, PublishedScore]]:
    """Yield the scores of a file.

    Raises:
        ConfigError: There is no such file.
    """
    if name not in files():
        raise ConfigError(
            f"There are no published scores called {name!r}.", hint=did_you_mean(name, files())
        )
    file = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    for row in file["row"]:
        values, tasks = {**file, **row}, file["tasks"]
        for task, top1 in zip(tasks, row["top1"], strict=True) if "top1" in row else ():
            yield _place(values, [task]), _score(values, top1, name, average=False)
        if "average" in row:
            over = [task for task in tasks if task != values.get("trained_on")]
            yield _place(values, over), _score(values, row["average"], name, average=True)


def _place(values: Mapping[str, Any], tasks: Iterable[str]) -> PublishedPlace:
    over = frozenset(tasks)
    trained_on = "" if values["strategy"] == ZERO_SHOT else values.get("trained_on", "")
    return PublishedPlace(
        values["strategy"],
        values["backbone"],
        over,
        values.get("shots"),
        values.get("classes", "all"),
        "" if over == {trained_on} else trained_on,
    )


def _score(values: Mapping[str, Any], top1: float, name: str, *, average: bool) -> PublishedScore:
    band, prompts, source = values.get("band", 0.0), values["prompts"], values["source"]
    return PublishedScore(top1 / 100, band / 100, average, prompts, source, name)


@cache
def same_prompts(task: str, one: str | None, other: str) -> bool:
    """Return whether two sources word the classes of a task in the same way.

    Args:
        one: "default" for the dataset's default; None is nobody's.
    """
    data = {task_name(name): name for name in names()}
    if one is None or task not in data:
        return one == other
    dataset = load(data[task])
    known: dict[str, Any] = {str(source): of for source, of in dataset.prompt_sets.items()}
    found = known.get(dataset.default_prompts if one == "default" else one)
    return found is not None and found == known.get(other)
