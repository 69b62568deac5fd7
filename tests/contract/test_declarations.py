"""What is declared of a strategy without torch is what the strategy itself says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fewtune.core.discovery import plugins
from fewtune.model.load_strategy import declared_strategy, load_strategy, strategies_with
from fewtune.reports.citations import paper_of

SHARED = ("title", "version", "citation", "source", "ours", "types", "recipe", "__doc__")


@pytest.mark.parametrize("name", plugins("strategies"))
def test_a_declaration_equals_the_strategy(name: str) -> None:
    declared, strategy = declared_strategy(name), load_strategy(name)
    assert declared is not strategy
    fields = [{k: repr(f) for k, f in kind.model_fields.items()} for kind in (declared, strategy)]
    assert fields[0] == fields[1]
    for attribute in SHARED:
        assert getattr(declared, attribute) == getattr(strategy, attribute)
    for shots in (None, 1, 4, 16):
        assert declared().recipe_for(shots) == strategy().recipe_for(shots)
    assert declared().model_dump_json() == strategy().model_dump_json()
    assert paper_of(declared) == paper_of(strategy)


def test_declarations_need_no_torch() -> None:
    code = (
        "import sys\nfrom fewtune.core.discovery import plugins\n"
        "from fewtune.model.load_strategy import declared_strategy\n"
        "for name in plugins('strategies'): declared_strategy(name)().model_dump()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_file_whose_fields_need_more_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_one.py").write_text(
        "from torch import float32\nfrom fewtune.strategies.zero_shot import ZeroShot\n"
        "class OddOne(ZeroShot):\n    width: int = float32.itemsize\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("fewtune.model.load_strategy._module_of", lambda name: "odd_one")
    assert declared_strategy("odd-one") is load_strategy("odd-one")
    assert declared_strategy("odd-one")().model_dump()["width"] == 4


def test_the_strategies_with_an_option_are_known() -> None:
    assert strategies_with("--rank") == "It is an option of clip-lora."
    assert strategies_with("lambda") == "It is an option of clipfit, kgcoop, prolip."
    assert strategies_with("--bogus") == ""
