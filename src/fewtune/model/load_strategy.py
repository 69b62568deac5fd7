"""Strategies by name: what one declares is read without torch, and imported to be computed."""

from __future__ import annotations

import ast
import contextlib
import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from fewtune.core.discovery import defined_in, plugins, strategy_entries, strategy_names
from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.naming import dashed

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from fewtune.core.spec import Spec
    from fewtune.model.strategy import Strategy


# What a strategy's fields may need; it imports no torch.
LIGHT = ("__future__", "collections", "functools", "math", "pydantic", "typing", "fewtune.core")
LIGHT_MODEL = "fewtune.model.strategy"
STRATEGIES = "fewtune.strategies."

Load = Callable[[str], "type[Strategy]"]

_offered: dict[str, type[Strategy]] = {}


@contextlib.contextmanager
def offered(kind: type[Strategy]) -> Iterator[None]:
    """Within this context `load_strategy` knows a class, though no package has installed it."""
    _offered[kind.name()] = kind
    try:
        yield
    finally:
        del _offered[kind.name()]


def load_strategy(name: str) -> type[Strategy]:
    """Import a strategy by name (case and "_" do not matter).

    Raises:
        ConfigError: No such strategy, two packages offer it, its file cannot be imported, or does
            not define exactly one.
    """
    if _fold(name) in _offered:
        return _offered[_fold(name)]
    return _only_strategy(_imported(_module_of(name), name), name)


def declared_strategy(name: str) -> type[Strategy]:
    """Return a strategy that computes nothing: its fields, its recipe and its texts.

    It is made in a few milliseconds from those lines of its file that need no torch. Where they do
    not suffice, it is the strategy itself.

    Raises:
        ConfigError: As of `load_strategy`.
    """
    declared = None if _fold(name) in _offered else _declared(_module_of(name), _fold(name))
    return declared or load_strategy(name)


@cache
def _declared(module: str, name: str) -> type[Strategy] | None:
    with contextlib.suppress(ConfigError, NameError, SyntaxError):
        return _only_strategy(_declarations(module), name)
    return None


def strategies_with(option: str) -> str:
    """Return "It is an option of clip-lora." for a field or a flag; "" where no strategy has it."""
    field = dashed(option.removeprefix("--"))
    kinds = map(declared_strategy, plugins("strategies"))
    found = [kind.name() for kind in kinds if field in map(dashed, kind.model_fields)]
    return f"It is an option of {', '.join(found)}." if found else ""


def _module_of(name: str) -> str:
    folded = _fold(name)
    entries = strategy_entries().get(folded, [])
    own = folded in plugins("strategies")
    if own + len(entries) > 1:
        owners = ["FewTune"] * own + [package_of(entry) for entry in entries]
        raise ConfigError(
            f"{' and '.join(owners)} each have a strategy {folded!r}.",
            hint=f"Uninstall one: pip uninstall {package_of(entries[-1])}",
        )
    if own:
        return STRATEGIES + folded.replace("-", "_")
    if not entries:
        raise ConfigError(
            f"There is no strategy {name!r}.",
            hint=did_you_mean(name, strategy_names()) + " See `fewtune list strategies`.",
        )
    return entries[0].module


def _only_strategy(module: ModuleType, name: str) -> type[Strategy]:
    from fewtune.model.strategy import Strategy

    kinds: list[type[Strategy]] = defined_in(module, Strategy)
    if len(kinds) != 1:
        raise ConfigError(
            f"{module.__file__} defines {len(kinds)} strategies.",
            hint="A strategy file defines exactly one subclass of Strategy.",
        )
    kind = kinds[0]
    if kind.name() != _fold(name):
        raise ConfigError(
            f"The plug-in {name!r} is defined in a file called {kind.name().replace('-', '_')}.py.",
            hint="A strategy's entry point has the name of its file, with dashes.",
        )
    return kind


def _fold(name: str) -> str:
    return name.lower().replace("_", "-")


@cache
def _declarations(name: str) -> ModuleType:
    """Return a module with what its file defines without torch: no head, no layer."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise NameError(name)
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    module = ModuleType(f"declared.{name}")
    module.__file__, module.__doc__ = found.origin, ast.get_docstring(tree)
    sys.modules[module.__name__] = module  # where pydantic looks for the names in annotations
    for node in tree.body:
        _execute(node, module)
    return module


def _execute(node: ast.stmt, module: ModuleType) -> None:
    """Execute a statement, unless it needs something that was left out."""
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(STRATEGIES):
        other = vars(_declarations(str(node.module)))
        known = {n.asname or n.name: other[n.name] for n in node.names if n.name in other}
        vars(module).update(known)
    elif isinstance(node, ast.Import | ast.ImportFrom) and not _is_light(node):
        return
    else:
        code = compile(ast.Module([node], []), str(module.__file__), "exec")
        with contextlib.suppress(NameError):
            exec(code, vars(module))


def _is_light(node: ast.Import | ast.ImportFrom) -> bool:
    names = [n.name for n in node.names] if isinstance(node, ast.Import) else [str(node.module)]
    return all(n == LIGHT_MODEL or f"{n}.".startswith(tuple(f"{m}." for m in LIGHT)) for n in names)


def _imported(module_name: str, name: str) -> ModuleType:
    """Import the file of a strategy.

    Raises:
        ConfigError: It cannot be imported; says in which line of which file.
    """
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.lineno]
        at = f"{frames[-1].filename}, line {frames[-1].lineno}"
        if isinstance(error, SyntaxError) and error.filename:
            at = f"{error.filename}, line {error.lineno}"
        elif isinstance(error, ModuleNotFoundError) and error.name == module_name:
            at = module_name
        raise ConfigError(
            f"The strategy {name!r} cannot be imported ({at}): {type(error).__name__}: {error}",
            hint="Mend or uninstall the package that offers it.",
        ) from error


def package_of(entry: EntryPoint) -> str:
    """Return the name of the package that an entry point belongs to."""
    return entry.dist.name if entry.dist else entry.module


def plugin_version(name: str) -> dict[str, str]:
    """Return {package: version} of what offers a strategy, {} for FewTune's own."""
    entries = () if name in plugins("strategies") else strategy_entries().get(name, ())
    return {entry.dist.name: entry.dist.version for entry in entries if entry.dist}


def zero_shot_of(spec: Spec) -> Spec:
    """Return the zero-shot run that a run is compared with, of the installed version."""
    return spec.zero_shot(declared_strategy("zero-shot").version)
