"""Named recipes per task, and the one way from loose options to a strategy and its recipe.

A named recipe is a file `assets/recipes/NAME.toml`: a table for each strategy with what its tasks
share, and in it a table for each task. `peft4clip` holds the settings of the repository of that
name; how they were translated, and which of its mistakes are not reproduced, stands at the top of
the file.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.fields import parse_values
from fewtune.core.naming import present
from fewtune.core.run_config import FIELDS
from fewtune.core.spec import Recipe
from fewtune.datasets.catalog import find
from fewtune.model.load_strategy import Load, load_strategy, strategies_with
from fewtune.model.strategy import Strategy

RECIPES = Path(__file__).parents[1] / "assets" / "recipes"


def named_recipe(name: str, strategy: str, task: str) -> dict[str, Any]:
    """Return the options of a strategy, its recipe fields included, that a named recipe sets.

    Args:
        name: "peft4clip".
        strategy: A strategy's name.
        task: A task of VTAB under any of its names: "vtab-caltech101", "caltech101".

    Raises:
        ConfigError: There is no such recipe, or it has nothing for this strategy or task.
    """
    name = present(name)
    tables = _tables(name)
    strategies = [key for key, value in tables.items() if "tasks" in value]
    folded = strategy.lower().replace("_", "-")
    if folded not in strategies:
        raise ConfigError(
            f"Recipe '{name}' has no settings for {strategy!r}.",
            hint=f"It has some for {', '.join(strategies)}. Without --recipe the default is used.",
        )
    table = tables[folded]
    found = find(task, "vtab")
    tail = found.name.rpartition("/")[2] if found else task
    if tail not in table["tasks"]:
        raise ConfigError(
            f"Recipe '{name}' has no settings for task {task!r}.",
            hint=f"It has some for: {', '.join(table['tasks'])}.",
        )
    shared = {key: value for key, value in table.items() if key != "tasks"}
    return shared | dict(table["tasks"][tail])


def configure(
    name: str,
    options: Mapping[str, Any],
    shots: int | None = None,
    *,
    unknown: str = "",
    load: Load = load_strategy,
) -> tuple[Strategy, Recipe | None]:
    """Return a strategy and its recipe with these options; None where nothing is trained.

    An option is a field of the strategy or of its recipe ("rank", "lr"); "-" is read as "_".

    Args:
        shots: Images per class, on which some recipes depend; None where they are not known.
        unknown: Begins the message for an unknown option ("grid.toml has the unknown key").
        load: `declared_strategy` for a strategy that is not to be computed.

    Raises:
        ConfigError: There is no such strategy or option, or a value is out of its range.
    """
    kind = load(name)
    models = [kind] if kind.recipe is None else [kind, type(kind.recipe)]
    unknown = unknown or f"{kind.name()} has no option"
    given = parse_values(options, models, unknown, FIELDS, strategies_with)
    strategy = kind(**{key: value for key, value in given.items() if key in kind.model_fields})
    default = strategy.recipe_for(shots)
    if default is None:
        return strategy, None
    changed = {key: value for key, value in given.items() if key not in kind.model_fields}
    recipe = type(default)(**{**default.model_dump(), **changed})
    if bool(recipe.length) != bool(default.length):
        does = "makes no gradient step" if recipe.length else "learns by gradient steps"
        raise ConfigError(
            f"{kind.name()} {does}: its length cannot be {recipe.length:g}.",
            hint="Leave out --epochs, --steps and --length, or choose another.",
        )
    return strategy, recipe


@cache
def _tables(name: str) -> dict[str, Any]:
    known = sorted(path.stem for path in RECIPES.glob("*.toml"))
    if name not in known:
        raise ConfigError(f"There is no recipe {name!r}.", hint=did_you_mean(name, known))
    return tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))
