"""The table [search] of a sweep file: how values are searched, and among which."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.protocol import Case

Method = Literal["grid", "random", "optuna"]
KEYS = ("method", "trials", "seed", "subset")
# Drawn values have so many significant digits: they are read by people, and machines differ in the
# last bits of a logarithm.
DIGITS = 4


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole numbers if both are."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> float:
        """Return the number at a share, in [0, 1), of the range."""
        low, high = float(self.low), float(self.high) + self.whole
        if self.log:
            value = low * math.exp(share * math.log(high / low))
        else:
            value = low + share * (high - low)
        return self.nearest(math.floor(value) if self.whole else value)

    def nearest(self, value: float) -> float:
        """Return a number with few digits within the range."""
        if self.whole:
            return min(int(self.high), max(int(self.low), int(value)))
        return min(float(self.high), max(float(self.low), float(f"{value:.{DIGITS}g}")))


Dimension = tuple[Any, ...] | Range
Space = Mapping[str, Dimension]


@dataclass(frozen=True)
class Settings:
    """How values are searched.

    Attributes:
        trials: How many combinations are tried; None for a grid.
        seed: Of the trials' runs, and of what is random in the method.
        subset: Training images of a VTAB task in the trials; None for the file's own.
        spaces: What is tried, by strategy and field.
    """

    method: Method = "grid"
    trials: int | None = None
    seed: int = 0
    subset: str | None = None
    spaces: Mapping[str, Space] = field(default_factory=dict)


def read_settings(
    table: Mapping[str, Any], strategies: Collection[str], lists: Collection[str] = ()
) -> Settings:
    """Return the settings in a file's table [search], keys with "-".

    Args:
        lists: Flags that take several values themselves: there, a list of lists is a list to try.

    Raises:
        ConfigError: A key or a value is wrong.
    """
    spaces = {name: value for name, value in table.items() if isinstance(value, dict)}
    plain = {name: value for name, value in table.items() if name not in spaces}
    _refuse_unknown(plain, spaces, strategies)
    method = plain.get("method", "grid")
    if method not in get_args(Method):
        raise ConfigError(
            f"[search] has the unknown method {method!r}.",
            hint=did_you_mean(str(method), get_args(Method)),
        )
    subset = plain.get("subset")
    return Settings(
        method,
        _trials(method, plain.get("trials")),
        _whole("seed", plain.get("seed", 0), least=0),
        None if subset is None else str(subset),
        {
            name: {
                key.replace("-", "_"): value for key, value in _space(name, space, method, lists)
            }
            for name, space in spaces.items()
            if space
        },
    )


def _refuse_unknown(
    plain: Mapping[str, Any], spaces: Mapping[str, Any], strategies: Collection[str]
) -> None:
    for key in plain:
        if key not in KEYS:
            raise ConfigError(
                f"[search] has the unknown key {key!r}.",
                hint=f"{did_you_mean(key, KEYS)} What is tried stands in [search.STRATEGY].",
            )
    for name in spaces:
        if name not in strategies:
            raise ConfigError(
                f"[search.{name}] is of no strategy of this sweep ({', '.join(strategies)}).",
                hint=did_you_mean(name, strategies),
            )
    if not any(spaces.values()):
        raise ConfigError(
            "[search] names nothing to try.",
            hint="For example: [search.clip-lora] and below it lr = [1e-4, 2e-4]",
        )


def _trials(method: Method, trials: Any) -> int | None:
    if method == "grid":
        if trials is not None:
            raise ConfigError(
                "[search] has trials, but a grid tries every combination.",
                hint='Take trials out, or add method = "random".',
            )
        return None
    if trials is None:
        raise ConfigError(f"A {method} search needs a number of trials.", hint="Add trials = 20.")
    return _whole("trials", trials, least=1)


def _whole(key: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"[search] {key} must be a whole number from {least}, found {value!r}.")
    return value


def _space(
    strategy: str, table: Mapping[str, Any], method: Method, lists: Collection[str]
) -> Iterator[tuple[str, Dimension]]:
    fixed = {name.replace("_", "-") for name in (*Case.model_fields, "score-on")}
    for key, value in table.items():
        where = f"[search.{strategy}] {key}"
        if key in fixed:
            raise ConfigError(
                f"{where}: it decides which images or prompts are seen, so it is not searched.",
                hint=f"Put {key} at the top of the file.",
            )
        if not isinstance(value, dict):
            yield key, _choices(where, value, key in lists)
        elif method == "grid":
            raise ConfigError(
                f"{where} is a range, of which a grid cannot try every number.",
                hint='List its values, or add method = "random" and trials = 20 to [search].',
            )
        else:
            yield key, _range(where, value)


def _choices(where: str, value: Any, takes_list: bool) -> tuple[Any, ...]:
    choices = value if isinstance(value, list) else [value]
    if not choices:
        raise ConfigError(f"{where} is an empty list: there is nothing to try.")
    if takes_list and not any(isinstance(choice, list) for choice in choices):
        return (choices,)
    return tuple(choices)


def _range(where: str, table: Mapping[str, Any]) -> Range:
    if set(table) - {"log"} != {"low", "high"}:
        raise ConfigError(
            f"{where} is no range: it has {', '.join(table) or 'no keys'}.",
            hint="A range looks like: {low = 1e-5, high = 1e-1, log = true}",
        )
    low, high, log = table["low"], table["high"], table.get("log", False)
    for bound in (low, high):
        if (
            not isinstance(bound, int | float)
            or isinstance(bound, bool)
            or not math.isfinite(bound)
        ):
            raise ConfigError(f"{where}: low and high must be numbers, found {bound!r}.")
    if not isinstance(log, bool):
        raise ConfigError(f"{where}: log must be true or false, found {log!r}.")
    if low >= high:
        raise ConfigError(f"{where}: low must be less than high, found {low} and {high}.")
    if log and low <= 0:
        raise ConfigError(f"{where}: a logarithmic range begins above 0, found {low}.")
    return Range(low, high, log)
