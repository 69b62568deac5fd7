"""A sweep file: the keys of `fewtune fit`, where a list is an axis of the grid.

strategy = ["zero-shot", "clip-lora", "clipfit"]
data = ["vtab/dtd", "my-images"]
shots = [1, 4, 16]
seed = [1, 2, 3]

[clip-lora]          # options of one strategy; a list is an axis here too
rank = [2, 4]
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fewtune.core.errors import ConfigError, did_you_mean

STRATEGY = "strategy"


def expand(
    values: Mapping[str, Any], strategies: Collection[str], lists: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return the flags of each run, the last axis of the file changing fastest.

    Args:
        values: Contents of the file, keys with "-".
        strategies: Names that a table may have.
        lists: Flags that take several values themselves: there, a list of lists is an axis.

    Raises:
        ConfigError: A table belongs to no strategy of the file, or an axis is empty.
    """
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
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
        for flags in _cells({**shared, **tables.get(name, {})}, lists)
    ]


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
