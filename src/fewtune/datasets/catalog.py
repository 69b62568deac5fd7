"""From what a user types after --data to a task: a path on disk, or the name of a data set.

A data set is a module of this package with a docstring and `load(*, templates, descriptions)`; the
name is that of the module, with "-" for "_". Nothing is registered anywhere else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

import fewtune.datasets
from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.task import Task
from fewtune.data.layouts import open_task

_NOT_DATA_SETS = ("catalog", "folder", "words", "vtab", "fewshot", "shift")


def names() -> tuple[str, ...]:
    """Return the names of all data sets, without importing them."""
    modules = (module.name for module in pkgutil.iter_modules(fewtune.datasets.__path__))
    return tuple(
        sorted(m.replace("_", "-") for m in modules if m not in _NOT_DATA_SETS and m[0] != "_")
    )


def resolve(
    data: str | Path,
    *,
    templates: Sequence[str] | None = None,
    descriptions: Path | None = None,
) -> Task:
    """Return the task at a path, if it exists, else the data set of that name.

    Raises:
        ConfigError: `data` is neither.
        DataError: The data cannot be read.
    """
    name = str(data).lower().replace("_", "-")
    if not _exists(data):
        if name in names():
            module = importlib.import_module(f"fewtune.datasets.{name.replace('-', '_')}")
            task: Task = module.load(templates=templates, descriptions=descriptions)
            return task
        if not _looks_like_path(str(data)):
            raise ConfigError(
                f"There is no data set and no folder called '{data}'.",
                hint=f"{did_you_mean(name, names())} For your own images give a folder of class "
                "folders: --data path/to/images",
            )
    return open_task(data, templates=templates, descriptions=descriptions)


def _exists(data: str | Path) -> bool:
    try:
        return Path(data).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, or an unknown ~user
        return False


def _looks_like_path(data: str) -> bool:
    return "/" in data or "\\" in data or data.startswith((".", "~")) or "." in data
