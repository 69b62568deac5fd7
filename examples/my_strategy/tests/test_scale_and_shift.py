"""The strategy keeps FewTune's contract, and FewTune finds it by its name."""

from pathlib import Path

from scale_and_shift import ScaleAndShift

from fewtune.model.load_strategy import load_strategy
from fewtune.testing import check_strategy


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    """It passes every check, with each inference type."""
    check_strategy(ScaleAndShift, tmp_path)


def test_it_is_found_by_name() -> None:
    """Its entry point leads to it."""
    assert load_strategy("scale-and-shift") is ScaleAndShift
