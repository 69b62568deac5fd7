"""Every strategy in the folder keeps the contract, for every inference type that it offers."""

from pathlib import Path

import pytest

from fewtune.core.discovery import plugins
from fewtune.model.load_strategy import load_strategy
from fewtune.model.strategy import Strategy
from fewtune.testing.contract import Check, checks_of
from fewtune.testing.contract_case import ContractCase

CASES = [
    pytest.param(kind(type=inference), check, id=f"{name}-{inference}-{check.__name__}")
    for name in plugins("strategies")
    for kind in [load_strategy(name)]
    for inference in kind.types
    for check in checks_of(kind)
]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contract")


@pytest.mark.parametrize(("strategy", "check"), CASES)
def test_contract(strategy: Strategy, check: Check, shared: Path) -> None:
    folder = shared / f"{strategy.name()}-{strategy.type}"
    check(ContractCase(strategy, folder, shared / "backbone"))
