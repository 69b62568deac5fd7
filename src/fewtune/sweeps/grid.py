"""A sweep file: the keys of `fewtune fit`, where a list is an axis of the grid.

strategy = ["zero-shot", "clip-lora", "clipfit"]
data = ["vtab/dtd", "my-images"]
shots = [1, 4, 16]
seed = [1, 2, 3]

[clip-lora]          # options of one strategy; a list is an axis here too
rank = [2, 4]

A table that is written several times, as [[clip-lora]], is several grids; a run that more than one
of them names is made once.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.protocol import Case, Score

STRATEGY = "strategy"
DATA = "data"


@dataclass(frozen=True)
class Grid:
    """A source of cases that scores do not change."""

    cells: tuple[Mapping[str, Any], ...]

    def cases(self, scores: Iterable[Score] = ()) -> tuple[Case, ...]:
        """Return a case for each cell, each once."""
        return tuple({case.key(): case for case in map(case_of, self.cells)}.values())


def case_of(cell: Mapping[str, Any]) -> Case:
    """Return the run that a cell asks for.

    What is no number where one is needed stays a flag, which is refused in the words of flags.

    Raises:
        ConfigError: The cell names no data.
    """
    flags = dict(cell)
    if not isinstance(flags.get(DATA), str):
        raise ConfigError(
            f"A sweep needs {DATA}, found {flags.get(DATA)!r}.",
            hint='For example: data = "vtab/dtd"',
        )
    fields = {name: flags.pop(name) for name in (STRATEGY, DATA)}
    for name, least in (("shots", 1), ("seed", 0)):
        if type(flags.get(name)) is int and flags[name] >= least:
            fields[name] = flags.pop(name)
    if isinstance(flags.get("backbone"), str):
        fields["backbone"] = flags.pop("backbone")
    return Case(**fields, options=flags)


def strategies_of(values: Mapping[str, Any]) -> list[str]:
    """Return the strategies that a file names, one or several."""
    named = values.get(STRATEGY, [])
    return named if isinstance(named, list) else [named]


def overridden(values: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of a file in which some axes are chosen anew, also within its tables.

    Tables of strategies that are not chosen are left out.
    """

    def without(value: Any) -> Any:
        tables = [{k: v for k, v in table.items() if k not in chosen} for table in _tables(value)]
        return tables or value

    every = strategies_of(values)
    dropped = set(every) - set(chosen.get(STRATEGY, every))
    kept = {key: without(value) for key, value in values.items() if key not in dropped}
    return {**kept, **chosen}


def expand(
    values: Mapping[str, Any], strategies: Collection[str], lists: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return the flags of each run, the last axis of the file changing fastest.

    Args:
        values: Contents of the file, keys with "-".
        lists: Flags that take several values themselves: there, a list of lists is an axis.

    Raises:
        ConfigError: A table belongs to no strategy of the file, or an axis is empty.
    """
    tables = {key: found for key, value in values.items() if (found := _tables(value))}
    shared = {key: value for key, value in values.items() if key not in tables}
    names = [str(name) for name in _axis(STRATEGY, shared.pop(STRATEGY, None), ())]
    for table in tables:
        if table not in names:
            known = names if table in strategies else sorted(strategies)
            raise ConfigError(
                f"The table [{table}] is of no strategy of this sweep ({', '.join(names)}).",
                hint=did_you_mean(table, known),
            )
    return [
        {STRATEGY: name, **flags}
        for name in names
        for table in tables.get(name, [{}])
        for flags in _cells({**shared, **table}, lists)
    ]


def _tables(value: Any) -> list[dict[str, Any]]:
    """Return the table or the tables that a key stands for; none for any other value."""
    several = value if isinstance(value, list) else [value]
    return several if all(isinstance(table, dict) for table in several) else []


def _cells(values: Mapping[str, Any], lists: Collection[str]) -> Iterator[dict[str, Any]]:
    axes = [_axis(key, value, lists) for key, value in values.items()]
    for chosen in itertools.product(*axes):
        yield dict(zip(values, chosen, strict=True))


def _axis(key: str, value: Any, lists: Collection[str]) -> list[Any]:
    if value is None:
        raise ConfigError(
            f"The sweep names no {key}.", hint='For example: strategy = ["clip-lora", "clipfit"]'
        )
    if not isinstance(value, list):
        return [value]
    if not value:
        raise ConfigError(f"{key} is an empty list: there is nothing to run.")
    if key in lists and not any(isinstance(entry, list) for entry in value):
        return [value]
    return value
