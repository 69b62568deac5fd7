"""What every strategy computes with its defaults, pinned in tests/values.toml (tests/pin.py).

A change of defaults or of numbers needs a raised `version`, or stored runs change their meaning.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest

import pin
from fewtune.core.discovery import plugins
from fewtune.model.load_strategy import load_strategy

TOLERANCE = 1e-4
PINNED = tomllib.loads(pin.VALUES.read_text(encoding="utf-8"))


def differences(name: str, pinned: pin.Table, found: pin.Table) -> list[str]:
    """What moved, in words."""
    raised = found["version"] > pinned["version"]
    lines = []
    if found["defaults"] != pinned["defaults"]:
        lines.append(
            f"{name}: its defaults changed and its version was raised"
            if raised
            else f"{name}: a default changed without a raised version ({found['version']}), so "
            "stored runs would silently mean something else"
        )
    for key in sorted((pinned.keys() | found.keys()) - {"defaults", "losses"}):
        if pinned.get(key) != found.get(key):
            lines.append(f"{name}: {key} was {pinned.get(key)}, is {found.get(key)}")
    old, new = pinned.get("losses", []), found.get("losses", [])
    if len(old) != len(new) or not all(
        math.isclose(a, b, rel_tol=TOLERANCE) for a, b in zip(old, new, strict=True)
    ):
        lines.append(f"{name}: losses were {old}, are {new}")
    if lines and not raised:
        lines.append(f"{name}: its version was not raised; if this is meant, raise it")
    return lines


@pytest.mark.parametrize("name", PINNED)
def test_pinned_values(name: str, tmp_path: Path) -> None:
    known = name == "recipe" or name in plugins("strategies")
    assert known, f"{name} is pinned but no longer there: run `{pin.COMMAND}`"
    if name == "recipe":
        found = pin.values_of_the_recipe()
    else:
        found = pin.values_of(load_strategy(name), tmp_path)
    lines = differences(name, PINNED[name], found)
    assert not lines, "\n".join([*lines, f"then run `{pin.COMMAND}`"])


def test_every_strategy_is_pinned() -> None:
    new = ", ".join(plugins("strategies").keys() - PINNED.keys())
    assert not new, f"new strategy {new}: run `{pin.COMMAND}` to pin its values and write its docs"


def test_a_changed_default_asks_for_a_version() -> None:
    pinned = {"version": 1, "defaults": "a", "parameters": 3, "losses": [1.0]}
    assert differences("x", pinned, dict(pinned)) == []
    assert differences("x", pinned, {**pinned, "losses": [1.00005]}) == []
    assert "without a raised version" in differences("x", pinned, {**pinned, "defaults": "b"})[0]
    raised = differences("x", pinned, {**pinned, "defaults": "b", "version": 2})
    assert "was raised" in raised[0]
    assert "version was 1, is 2" in raised[1]
    *moved, version = differences("x", pinned, {**pinned, "losses": [1.001], "parameters": 4})
    assert moved == ["x: parameters was 3, is 4", "x: losses were [1.0], are [1.001]"]
    assert "version was not raised" in version
