"""The table [search] of a sweep file, checked as strictly as the flags of `fewtune fit`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.cli.fit import EXECUTION, options_given, strategy_command
from fewtune.cli.support.options import Option
from fewtune.cli.support.toml_files import as_defaults
from fewtune.core.errors import ConfigError
from fewtune.model.load_strategy import load_strategy

if TYPE_CHECKING:
    from fewtune.sweeps.runner import CaseSource
    from fewtune.sweeps.search_space import Dimension

SEARCH = "search"


def searched(
    source: CaseSource, table: Any, path: Path, named: Iterable[str], lists: Collection[str]
) -> CaseSource:
    """Return the source whose runs get what a search chooses.

    Args:
        source: Names the runs, with the values that are not searched.
        table: The table [search].
        named: Strategies of the file; flags may have left out some.
        lists: Flags that take several values themselves.

    Raises:
        ConfigError: A key or a value that may be tried is wrong; nothing was run then.
    """
    from fewtune.sweeps.search import Searches
    from fewtune.sweeps.search_space import read_settings

    if not isinstance(table, dict):
        raise ConfigError(
            f"{path}: search is no table, found {table!r}.", hint='A table begins with "[search]".'
        )
    strategies = dict.fromkeys([*named, *(case.strategy for case in source.cases(()))])
    settings = read_settings(table, strategies, lists)
    for strategy, space in settings.spaces.items():
        for name, dimension in space.items():
            _check(strategy, name.replace("_", "-"), dimension, path)
    return Searches(source, settings)


def _check(strategy: str, key: str, dimension: Dimension, path: Path) -> None:
    """Try each value of a list, or the bounds of a range, as flags."""
    from fewtune.training.named_recipes import configure

    kind = load_strategy(strategy)
    command = strategy_command(kind)
    option = next((o for o in command.params if f"--{key}" in o.opts), None)
    if isinstance(option, Option) and option.section == EXECUTION:
        raise ConfigError(f"{path}: [search.{strategy}] {key} does not decide the scores of a run.")
    for value in dimension if isinstance(dimension, tuple) else (dimension.low, dimension.high):
        given = as_defaults({key: value}, path, command.params)
        context = command.make_context(SEARCH, [], default_map=given)
        configure(strategy, options_given(context, kind))
