"""A benchmark protocol says which runs it needs and makes tables of their scores; it runs nothing.

Whoever runs it asks for the cases, makes those that have no score yet, and asks again with the
scores: a search comes first, and what it finds decides what follows. Cases, scores and tables are
plain values that survive JSON, so they can be sent to another process or machine.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from statistics import mean, stdev
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, ValidationError

from fewtune.core.discovery import defined_in, plugins, strategy_names
from fewtune.core.draws import DEFAULT_DRAW, Draw
from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.fields import Frozen
from fewtune.core.files import digest
from fewtune.core.naming import dashed, present
from fewtune.core.spec import ZERO_SHOT
from fewtune.core.task import Classes, Split


def _underscored(value: Any) -> Any:
    """Return options whose keys are field names, where files and flags write "-".

    Keys of tables within them are names of datasets, and stay as they are.
    """
    if not isinstance(value, dict):
        return value
    return {
        k if isinstance(v, dict) else k.replace("-", "_"): _underscored(v) for k, v in value.items()
    }


# Flags of `fewtune fit` by the name of their field.
Options = Annotated[dict[str, Any], BeforeValidator(_underscored)]
# A source of class names and templates.
PromptsName = Annotated[str, AfterValidator(present)]


class Target(Frozen):
    """Images that a model is scored on, and the classes that it chooses among."""

    data: str
    classes: Classes = "all"
    split: Split = "test"


class Case(Frozen):
    """One run.

    Attributes:
        data: Name or path of a dataset, as after `--data`.
        classes: The classes that the run knows: all, or a half of them (`core.task.base_new`).
        prompts: Source of class names and templates; None for the dataset's default.
        subset: Training images of a VTAB task; None for the default.
        options: Further flags of `fewtune fit`: of the strategy, of its recipe, of the run.
        split: What the run itself is scored on. "val" is a step of a search, which must not read
            test images.
        elsewhere: What the tuned model is scored on beside. It does not decide the run.
        chosen_by: The search that chose these options, for the record. It does not decide the run.
    """

    strategy: str
    data: str
    classes: Classes = "all"
    shots: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    draw: Draw = DEFAULT_DRAW
    prompts: PromptsName | None = None
    subset: Literal["1000", "800", "full"] | None = None
    backbone: str | None = None
    options: Options = Field(default_factory=dict)
    split: Split = "test"
    elsewhere: tuple[Target, ...] = ()
    chosen_by: dict[str, Any] | None = None

    @property
    def own(self) -> Target:
        """What the run itself is scored on."""
        return Target(data=self.data, classes=self.classes, split=self.split)

    def key(self) -> str:
        """Return 12 hexadecimal digits that name this run among all cases of all protocols."""
        beside = {"elsewhere", "chosen_by"}
        return digest(self.model_dump(mode="json", exclude_defaults=True, exclude=beside))[:12]

    def name(self) -> str:
        """Return a file name: readable parts, then the key."""
        task = self.data.strip("/.").replace("/", "-")
        return f"{self.strategy}-{task}-{self.key()}"

    def label(self) -> str:
        """Return "clip-lora on vtab/dtd, 16 shots"."""
        shots = "all images" if self.shots is None else f"{self.shots} shot{'s' * (self.shots > 1)}"
        return f"{self.strategy} on {self.data}, {shots}"

    def settings(self) -> dict[str, Any]:
        """Return the run as values of `RunConfig`, and options of its strategy and recipe."""
        names = ("strategy", "data", "shots", "seed", "draw", "prompts", "subset", "backbone")
        values = {name: getattr(self, name) for name in names}
        values |= {"classes": self.classes, "score_on": self.split}
        usual = {"classes": "all", "score_on": "test"}
        given = {k: v for k, v in values.items() if v is not None and v != usual.get(k)}
        return given | self.options


class Score(Frozen):
    """What became of a case's model on a target.

    Attributes:
        top1: In [0, 1]; None where the run has failed.
    """

    case: Case
    target: Target
    top1: float | None = Field(ge=0, le=1)
    error: str = ""

    @classmethod
    def of(cls, case: Case, record: dict[str, Any]) -> Score:
        """Return the score of a run on its own target, from its record."""
        return cls(case=case, target=case.own, top1=record["metrics"]["top1"])


class Value(Frozen):
    """A cell of a table.

    Attributes:
        mean: Over seeds, or over the columns that an average names.
        spread: Sample standard deviation over seeds; None for one seed, and for averages.
        seeds: Seeds that it is of; 0 for averages.
    """

    mean: float
    spread: float | None = None
    seeds: int = 0


class ScoreRow(Frozen):
    """A strategy's values; None is a hole."""

    label: str
    values: tuple[Value | None, ...]


class ScoreTable(Frozen):
    """Numbers without a format; notes stand below it."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[ScoreRow, ...]
    notes: tuple[str, ...] = ()


class Scores:
    """Scores by run and target."""

    def __init__(self, scores: Iterable[Score]) -> None:
        self._found = {(score.case.key(), score.target): score for score in scores}

    def top1(self, case: Case, target: Target | None = None) -> float | None:
        """Return the score of a run on a target (None: its own), or None."""
        found = self._found.get((case.key(), target or case.own))
        return found.top1 if found else None

    def error(self, case: Case) -> str:
        """Return why a run has failed; "" if it has not, or is still to be made."""
        found = self._found.get((case.key(), case.own))
        return found.error if found else ""

    def value(self, cases: Sequence[Case], target: Target | None = None) -> Value | None:
        """Return the mean over the cases that have a score, which differ in their seeds."""
        found = [top1 for case in cases if (top1 := self.top1(case, target)) is not None]
        if not found:
            return None
        spread = stdev(found) if len(found) > 1 else None
        return Value(mean=mean(found), spread=spread, seeds=len(found))


def average(values: Iterable[Value | None]) -> Value | None:
    """Return the mean of values; None if one is missing."""
    known = list(values)
    means = [value.mean for value in known if value is not None]
    return Value(mean=mean(means)) if means and len(means) == len(known) else None


def harmonic(first: Value | None, second: Value | None) -> Value | None:
    """Return the harmonic mean of two values, 0 if both are 0; None if one is missing."""
    if first is None or second is None:
        return None
    total = first.mean + second.mean
    return Value(mean=2 * first.mean * second.mean / total if total else 0.0)


class Protocol(Frozen, ABC):
    """A benchmark: its fields choose among its runs.

    Class attributes:
        title: Its name in tables.
        paper: Citation key of its source, "" for none.

    Attributes:
        strategies: Rows of the tables, zero-shot first.
        options: Further flags of `fewtune fit` by strategy; a table within them is named by a data
            set and counts there alone.
    """

    title: ClassVar[str]
    paper: ClassVar[str] = ""

    strategies: tuple[str, ...] = Field(
        default_factory=lambda: tuple(strategy_names()),
        description="rows of the tables, besides zero-shot",
    )
    seeds: tuple[NonNegativeInt, ...] = Field(
        (1, 2, 3), min_length=1, description="seeds; a run for each"
    )
    draw: Draw = Field(DEFAULT_DRAW, description="how shots are drawn")
    prompts: PromptsName | None = Field(
        None, description="whose class names and templates to use; none: each dataset's own"
    )
    backbone: str | None = Field(None, description="backbone by name; none: that of `fewtune fit`")
    options: dict[str, Options] = Field(default_factory=dict)

    def model_post_init(self, context: Any) -> None:
        """Put zero-shot first; refuse what is unknown or there twice."""
        known = strategy_names()
        for name in (*self.strategies, *self.options):
            if name not in known:
                raise ConfigError(
                    f"{self.name()} names the unknown strategy {name!r}.",
                    hint=did_you_mean(name, known),
                )
        named = {dashed(data) for data in self.known_data()}
        for strategy, options in self.options.items():
            for table in (key for key, value in options.items() if isinstance(value, dict)):
                if named and dashed(table) not in named:
                    raise ConfigError(
                        f"{self.name()} does not train on {table!r}, for which {strategy} has "
                        "options.",
                        hint=did_you_mean(table, self.known_data()),
                    )
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"{self.name()} names a seed twice: {self.seeds}.")
        rows = tuple(dict.fromkeys((ZERO_SHOT, *self.strategies)))
        object.__setattr__(self, "strategies", rows)

    @classmethod
    def of(cls, values: dict[str, Any], where: str) -> Self:
        """Return the protocol with these fields.

        Args:
            where: What names them, for messages ("grid.toml").

        Raises:
            ConfigError: A field is unknown, missing or has a wrong value.
        """
        known = cls.model_fields
        for key in values:
            if key not in known:
                raise ConfigError(
                    f"{where}: {cls.name()} has no {key!r}.", hint=did_you_mean(key, known)
                )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            if first["type"] == "missing":
                raise ConfigError(
                    f"{cls.name()} needs {place}.",
                    hint=f"Add --{place}, or the key {place} to a file.",
                ) from error
            reason = first["msg"].lower()
            raise ConfigError(f"{where}: {place}: {reason}; found {first['input']!r}.") from error

    @classmethod
    def name(cls) -> str:
        """Return the protocol's name: that of its file, with dashes."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")

    @abstractmethod
    def cases(self, scores: Iterable[Score] = ()) -> tuple[Case, ...]:
        """Return the runs that are needed as far as these scores tell, each once."""

    @abstractmethod
    def tables(self, scores: Iterable[Score]) -> tuple[ScoreTable, ...]:
        """Return the tables, with holes where a score is missing."""

    def known_data(self) -> tuple[str, ...]:
        """Return what the paper trains on and what is chosen; () if only the user knows it."""
        name = "data" if "data" in type(self).model_fields else "source"
        default, chosen = type(self).model_fields[name].default, getattr(self, name)
        if isinstance(default, str):
            return default, chosen
        return (*default, *chosen) if isinstance(default, tuple) else ()

    def options_of(self, strategy: str, data: str) -> dict[str, Any]:
        """Return the options of a strategy on a dataset."""
        every = self.options.get(strategy, {})
        own = (v for k, v in every.items() if isinstance(v, dict) and dashed(k) == dashed(data))
        flat = {key: value for key, value in every.items() if not isinstance(value, dict)}
        return {**flat, **next(own, {})}

    def over_seeds(self, strategy: str, data: str, **fields: Any) -> tuple[Case, ...]:
        """Return the runs of a strategy on a dataset, one a seed; zero-shot is one run."""
        shared = {"draw": self.draw, "prompts": self.prompts, "backbone": self.backbone}
        if strategy == ZERO_SHOT:
            shared |= {"draw": DEFAULT_DRAW}
            fields = {k: v for k, v in fields.items() if k not in ("shots", "options")}
            return (Case(strategy=strategy, data=data, **shared, **fields),)
        fields["options"] = {**self.options_of(strategy, data), **fields.get("options", {})}
        return tuple(
            Case(strategy=strategy, data=data, seed=seed, **shared, **fields) for seed in self.seeds
        )

    def table(
        self,
        name: str,
        title: str,
        columns: tuple[str, ...],
        values: Callable[[str], Sequence[Value | None]],
        notes: Sequence[str] = (),
    ) -> ScoreTable:
        """Return a table with a row for each strategy that has a value.

        Its notes begin with the choices in which papers differ.

        Args:
            name: Follows the protocol's name in that of the table.
            title: Follows the protocol's title.
        """
        every = [(strategy, tuple(values(strategy))) for strategy in self.strategies]
        rows = tuple(ScoreRow(label=s, values=v) for s, v in every if any(v))
        prompts = self.prompts or "each dataset's default"
        conditions = f"Draw: {self.draw}; prompts: {prompts}; the model of the last step."
        fewer = sorted(
            {
                row.label
                for row in rows
                for value in row.values
                if row.label != ZERO_SHOT and value and 0 < value.seeds < len(self.seeds)
            }
        )
        missing = [f"Not all {len(self.seeds)} seeds: {', '.join(fewer)}."] if fewer else []
        return ScoreTable(
            name=f"{self.name()}{name}",
            title=f"{self.title}{title}",
            columns=columns,
            rows=rows,
            notes=(conditions, *missing, *notes),
        )


def load_protocol(name: str) -> type[Protocol]:
    """Import a protocol by name (case and "_" do not matter).

    Raises:
        ConfigError: There is no such protocol.
    """
    folded = name.lower().replace("_", "-")
    known = plugins("protocols")
    if folded not in known:
        raise ConfigError(f"There is no protocol {name!r}.", hint=did_you_mean(name, known))
    module = importlib.import_module(f"fewtune.protocols.{folded.replace('-', '_')}")
    found: type[Protocol] = defined_in(module, Protocol)[0]
    return found
