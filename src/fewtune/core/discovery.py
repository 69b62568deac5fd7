"""The folder is the registry: `strategies/clip_lora.py` is the strategy `clip-lora`.

Names and first docstring lines are read from the source, so listing imports nothing. Packages can
add strategies through the entry-point group "fewtune.strategies".
"""

import ast
import importlib.util
import inspect
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

ENTRY_POINTS = "fewtune.strategies"


def plugins(folder: str) -> dict[str, str]:
    """Return {name: first docstring line} of the plug-in files in a folder of this package."""
    found: dict[str, str] = {}
    package = importlib.import_module(f"fewtune.{folder.replace('/', '.')}")
    for place in reversed(package.__path__):  # what is imported is that of the first place
        files = sorted(Path(place).glob("[!_]*.py"))
        found |= {file.stem.replace("_", "-"): _first_line(file) for file in files}
    return found


def strategy_names() -> dict[str, str]:
    """Return {name: one-line description} of all strategies, the installed plug-ins included."""
    names = plugins("strategies")
    for name, entries in strategy_entries().items():
        if name not in names:
            file = _file_of(entries[0].module)
            names[name] = (_first_line(file) if file else "") or f"plug-in {entries[0].value}"
    return names


def strategy_entries() -> dict[str, list[EntryPoint]]:
    """Return what installed packages offer as strategies, by name."""
    return _entries_on(tuple(sys.path))


@cache
def _entries_on(path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    """Read the files of all packages on a path: some 50 ms, so once."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        found.setdefault(entry.name, []).append(entry)
    return found


def _file_of(module: str) -> Path | None:
    """Return the file of a module without importing it or a package above it; None if unknown."""
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not inner:
        return Path(spec.origin) if spec.origin else None
    places = spec.submodule_search_locations or ()
    files = (Path(place, *inner).with_suffix(".py") for place in places)
    return next((file for file in files if file.is_file()), None)


def defined_in(module: ModuleType, base: type[Any]) -> list[Any]:
    """Return the subclasses of `base` that a module defines itself."""
    classes = (member for _, member in inspect.getmembers(module, inspect.isclass))
    return [c for c in classes if issubclass(c, base) and c.__module__ == module.__name__]


def _first_line(file: Path) -> str:
    return _first_line_of(file, file.stat().st_mtime_ns)


@cache
def _first_line_of(file: Path, changed_ns: int) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
