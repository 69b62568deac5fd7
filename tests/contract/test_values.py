"""What every strategy computes with its defaults, pinned in tests/values.toml.

After a change on purpose: `pytest tests/contract/test_values.py -n0 -s --update-values`, and commit
the file. A default that changes needs a raised `version` too, or stored runs change their meaning.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fewtune.core.discovery import plugins
from fewtune.core.files import digest, write_text
from fewtune.core.spec import Recipe
from fewtune.model.load_strategy import load_strategy
from fewtune.model.strategy import Strategy
from fewtune.testing import tiny_task
from fewtune.testing.contract import ContractCase, derived_cuts, trains

FILE = Path(__file__).parents[1] / "values.toml"
HEADER = """\
# What every strategy computes on the random CLIP of fewtune.testing, with its defaults: trained
# parameters, how many leading stages of each tower are frozen, losses by step, and its defaults.
# Written by: pytest tests/contract/test_values.py -n0 -s --update-values
"""
LOSS_STEPS = (1, 2, 5)
TOLERANCE = 1e-4

Table = dict[str, Any]


def defaults(kind: type[Strategy]) -> str:
    """A digest of the default fields and the default recipe."""
    recipe = None if kind.recipe is None else kind.recipe.model_dump(mode="json")
    return digest([kind().model_dump(mode="json"), recipe])[:16]


def measure(kind: type[Strategy], folder: Path) -> Table:
    image, text = derived_cuts(kind(), folder)
    table: Table = {"version": kind.version, "defaults": defaults(kind), "image_cut": image}
    if text is not None:
        table["text_cut"] = text
    subject = ContractCase(kind(), folder, folder / "backbone")
    if not trains(kind):
        return table | {"parameters": 0}
    training = subject.training(tiny_task().support())
    losses = [training.step(step)[0] for step in range(max(LOSS_STEPS))]
    return table | {
        "parameters": sum(parameter.numel() for parameter in training.parameters.values()),
        "losses": [float(f"{losses[step - 1]:.6g}") for step in LOSS_STEPS],
    }


def differences(name: str, pinned: Table, found: Table) -> list[str]:
    """What moved, in words."""
    lines = []
    if found["defaults"] != pinned.get("defaults"):
        raised = found["version"] > pinned.get("version", 0)
        lines.append(
            f"{name}: its defaults changed and its version was raised; update the values"
            if raised
            else f"{name}: a default changed without a raised version ({found['version']}), so "
            "stored runs would silently mean something else"
        )
    for key in sorted((pinned.keys() | found.keys()) - {"defaults", "losses"}):
        if pinned.get(key) != found.get(key):
            lines.append(f"{name}: {key} was {pinned.get(key)}, is {found.get(key)}")
    old, new = pinned.get("losses", []), found.get("losses", [])
    same = len(old) == len(new) and all(
        math.isclose(a, b, rel_tol=TOLERANCE) for a, b in zip(old, new, strict=True)
    )
    return lines if same else [*lines, f"{name}: losses were {old}, are {new}"]


def as_toml(tables: dict[str, Table]) -> str:
    parts = [HEADER]
    for name, table in tables.items():
        lines = [f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in table.items()]
        parts.append(f"\n[{name}]\n" + "\n".join(lines) + "\n")
    return "".join(parts)


def test_pinned_values(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    found: dict[str, Table] = {
        "recipe": {"version": 1, "defaults": digest(Recipe().model_dump(mode="json"))[:16]}
    }
    for name in plugins("strategies"):
        found[name] = measure(load_strategy(name), tmp_path / name)
    if request.config.getoption("--update-values", default=False):
        before = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
        write_text(FILE, as_toml(found))
        moved = difflib.unified_diff(before.splitlines(), as_toml(found).splitlines(), lineterm="")
        print("\n".join(moved) or "values.toml is as it was")  # noqa: T201
        return
    pinned = tomllib.loads(FILE.read_text(encoding="utf-8"))
    lines = [f"{name}: no longer there" for name in pinned.keys() - found.keys()]
    for name, table in found.items():
        lines += differences(name, pinned.get(name, {}), table)
    assert not lines, "\n".join(lines)


def test_a_changed_default_asks_for_a_version() -> None:
    pinned = {"version": 1, "defaults": "a", "parameters": 3, "losses": [1.0]}
    assert differences("x", pinned, dict(pinned)) == []
    assert differences("x", pinned, {**pinned, "losses": [1.00005]}) == []
    assert "without a raised version" in differences("x", pinned, {**pinned, "defaults": "b"})[0]
    raised = differences("x", pinned, {**pinned, "defaults": "b", "version": 2})
    assert "was raised" in raised[0]
    assert "version was 1, is 2" in raised[1]
    moved = differences("x", pinned, {**pinned, "losses": [1.001], "parameters": 4})
    assert moved == ["x: parameters was 3, is 4", "x: losses were [1.0], are [1.001]"]
