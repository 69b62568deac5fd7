"""Pinned facts: what strategies compute and how datasets are worded, to notice when it changes.

    python tests/pin.py

writes tests/values.toml and tests/datasets.toml, shows what moved, and then rewrites the tables and
diagrams in the docs (scripts/generate_docs.py). It is the one command after a new strategy or
dataset, and after a change on purpose.
"""

from __future__ import annotations

import difflib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fewtune.core.discovery import plugins
from fewtune.core.files import digest, write_text
from fewtune.core.spec import Recipe
from fewtune.datasets import catalog, loading
from fewtune.datasets.declaration import Dataset
from fewtune.model.load_strategy import load_strategy
from fewtune.model.strategy import Strategy
from fewtune.testing import tiny_task
from fewtune.testing.contract_case import ContractCase, make_steps, trains

COMMAND = "python tests/pin.py"
TESTS = Path(__file__).parent
VALUES, DATASETS = TESTS / "values.toml", TESTS / "datasets.toml"
VALUES_HEADER = f"""\
# What every strategy computes on the random CLIP of fewtune.testing, with its defaults: trained
# parameters, how many leading stages of each tower are frozen, losses by step (of every phase), and
# its defaults.
# Written by: {COMMAND}
"""
DATASETS_HEADER = f"""\
# Of every dataset: how many classes, and a digest of their names in label order; of every source
# of prompts: how many templates, and a digest of templates and words. They are those of the
# sources named in docs/datasets.md. Written by: {COMMAND}
"""
LOSS_STEPS = (1, 2, 5)

Table = dict[str, Any]


def values_of(kind: type[Strategy], folder: Path) -> Table:
    """Return what is pinned of a strategy."""
    case = ContractCase(kind(), folder, folder / "backbone")
    image, text = case.cuts()
    table: Table = {"version": kind.version, "defaults": _defaults(kind), "image_cut": image}
    if text is not None:
        table["text_cut"] = text
    if not trains(kind):
        return table | {"parameters": 0}
    trained: dict[str, int] = {}
    losses = []
    for phase in range(len(case.phases)):
        training = case.training(tiny_task().support(), phase=phase)
        trained |= {name: parameter.numel() for name, parameter in training.parameters.items()}
        of_phase = make_steps(training, max(LOSS_STEPS))
        losses += [float(f"{of_phase[step - 1]:.6g}") for step in LOSS_STEPS]
    return table | {"parameters": sum(trained.values()), "losses": losses}


def values_of_the_recipe() -> Table:
    """Return what is pinned of the recipe that strategies start from."""
    return {"version": 1, "defaults": digest(Recipe().model_dump(mode="json"))[:16]}


def values_of_dataset(dataset: Dataset) -> Table:
    """Return what is pinned of a dataset."""
    worded = {
        source: [
            len(prompt_set.templates),
            digest([prompt_set.templates, loading.words(dataset, prompt_set)])[:16],
        ]
        for source, prompt_set in sorted(dataset.prompt_sets.items())
    }
    return {"classes": [len(dataset.classes), digest(dataset.classes)[:16]], **worded}


def _defaults(kind: type[Strategy]) -> str:
    """Return a digest of the default fields and the default recipe."""
    recipe = None if kind.recipe is None else kind.recipe.model_dump(mode="json")
    return digest([kind().model_dump(mode="json"), recipe])[:16]


def _as_toml(header: str, tables: dict[str, Table]) -> str:
    parts = [header]
    for name, table in tables.items():
        title = f'"{name}"' if "/" in name else name
        lines = [f"{key} = {_value(value)}\n" for key, value in table.items()]
        parts.append(f"\n[{title}]\n{''.join(lines)}")
    return "".join(parts)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _write(path: Path, text: str) -> None:
    """Write a file and show what moved."""
    before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    write_text(path, text)
    moved = difflib.unified_diff(before, text.splitlines(), lineterm="", n=1)
    print("\n".join(moved) or f"{path.name} is as it was")  # noqa: T201


def main() -> None:
    """Pin everything anew and rewrite the docs."""
    values = {"recipe": values_of_the_recipe()}
    with tempfile.TemporaryDirectory() as scratch:
        for name in plugins("strategies"):
            values[name] = values_of(load_strategy(name), Path(scratch) / name)
    _write(VALUES, _as_toml(VALUES_HEADER, values))
    worded = {name: values_of_dataset(catalog.load(name)) for name in catalog.declared()}
    _write(DATASETS, _as_toml(DATASETS_HEADER, worded))
    script = TESTS.parent / "scripts" / "generate_docs.py"
    subprocess.run([sys.executable, str(script)], check=True)


if __name__ == "__main__":
    main()
