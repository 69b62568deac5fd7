"""A table a file: `TITLE`, and `cases`, which maps a name to what measures its rows."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from benchmarks.harness import Settings
from benchmarks.result import Row

Cases = dict[str, Callable[[], list[Row]]]


class Table(Protocol):
    """What a file in this folder offers."""

    TITLE: str

    def cases(self, settings: Settings) -> Cases:
        """Return what can be measured one by one."""


def names() -> list[str]:
    """Return the names of all tables."""
    files = Path(__file__).parent.glob("[!_]*.py")
    return sorted(file.stem.replace("_", "-") for file in files)


def load(name: str) -> Table:
    """Return one table."""
    module = importlib.import_module(f"benchmarks.tables.{name.replace('-', '_')}")
    return cast(Table, module)
