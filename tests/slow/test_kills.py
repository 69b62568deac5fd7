"""What `python tests/slow/kills.py` does for 200 kills, for one kill of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from acts import ACTS, Act
from bit_flips import flips
from kills import Tally, kill_often

pytestmark = pytest.mark.slow
KILLED = ("fit, two phases", "sweep", "predict -o", "data sample", "download")


def named(*names: str) -> list[Act]:
    return [act for act in ACTS if act.name in names]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("act", named(*KILLED), ids=lambda act: act.name.replace(" ", "-"))
def test_what_a_kill_leaves_is_whole_and_the_next_run_ends_in_the_same_bytes(
    act: Act, tmp_path: Path
) -> None:
    tally = Tally()
    kill_often(act, 1, 1, tmp_path, tally)
    assert not tally.faults


def test_turned_bits_are_found_or_harmless(tmp_path: Path) -> None:
    counts = flips(tmp_path, 60, seed=1)
    assert counts.total() == 60
    assert {outcome for _, outcome in counts} <= {"found", "harmless"}
