"""Every strategy in the folder keeps the contract, for every inference type that it offers."""

from pathlib import Path

import pytest

from fewtune.core.discovery import load_strategy, plugins
from fewtune.testing.contract import ALWAYS, CHECKS, Check, Subject

CASES = [
    pytest.param(kind(type=inference), check, id=f"{name}-{inference}-{check.__name__}")
    for name in plugins("strategies")
    for kind in [load_strategy(name)]
    for inference in kind.types
    for check in (CHECKS if kind.recipe else ALWAYS)
]


@pytest.mark.parametrize(("strategy", "check"), CASES)
def test_contract(strategy: object, check: Check, tmp_path: Path) -> None:
    check(Subject(strategy, tmp_path))  # type: ignore[arg-type]
