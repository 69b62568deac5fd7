"""Strategies by name: imported when they are asked for, so that listing them costs no torch."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from fewtune.core.discovery import ENTRY_POINTS, defined_in, plugins, strategy_names
from fewtune.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from fewtune.core.spec import Spec
    from fewtune.model.strategy import Strategy


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
        ConfigError: No such strategy, or its file does not define exactly one.
    """
    from fewtune.model.strategy import Strategy

    folded = name.lower().replace("_", "-")
    if folded in _offered:
        return _offered[folded]
    if folded in plugins("strategies"):
        module_name = f"fewtune.strategies.{folded.replace('-', '_')}"
    else:
        found = [e for e in entry_points(group=ENTRY_POINTS) if e.name == folded]
        if not found:
            raise ConfigError(
                f"There is no strategy {name!r}.",
                hint=did_you_mean(name, strategy_names()) + " See `fewtune list strategies`.",
            )
        module_name = found[0].value.partition(":")[0]
    module = importlib.import_module(module_name)
    kinds: list[type[Strategy]] = defined_in(module, Strategy)
    if len(kinds) != 1:
        raise ConfigError(
            f"{module.__file__} defines {len(kinds)} strategies.",
            hint="A strategy file defines exactly one subclass of Strategy.",
        )
    kind = kinds[0]
    if kind.name() != folded:
        raise ConfigError(
            f"The plug-in {name!r} is defined in a file called {kind.name().replace('-', '_')}.py.",
            hint="A strategy's entry point has the name of its file, with dashes.",
        )
    return kind


def zero_shot_of(spec: Spec) -> Spec:
    """Return the zero-shot run that a run is compared with, of the installed version."""
    return spec.zero_shot(load_strategy("zero-shot").version)
