"""The benchmarks run: every table at tiny sizes, in this process, without measuring anything."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import speed_tables

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import profile, result, tables
from benchmarks.harness import Contender, Settings, race
from benchmarks.result import Row

QUICK = Settings(quick=True, repeats=1, warmup=0)


@pytest.mark.parametrize("name", tables.names())
def test_every_case_gives_rows(name: str) -> None:
    for case, run in tables.load(name).cases(QUICK).items():
        rows = run()
        assert rows, case
        for row in rows:
            assert row.ours >= 0
            assert row.ratio is None or (math.isfinite(row.ratio) and row.ratio > 0)


def test_every_table_is_drawn() -> None:
    assert set(speed_tables.TABLES) == set(tables.names())


def test_the_profile_runs() -> None:
    profile.draw(QUICK)


def test_rows_are_replaced_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Row("step", "A", 2.0, 9.0, "s", 4.5, 4.0, "at least", 5)
    other = Row("step", "floor", 2.0, 0.4, "s", 5.0, 4.0, "at most", 5, "noted")
    result.write("table", "Title", [first, other], QUICK, tmp_path)
    result.write("table", "Title", [replace(first, ours=3.0, ratio=3.0)], QUICK, tmp_path)
    monkeypatch.setattr(speed_tables, "RESULTS", tmp_path)
    assert speed_tables.rows("table") == [
        ["step", "A", "3 s", "9 s", "**3**", "at least 4: missed", "5 turns"],
        ["step", "floor", "2 s", "0.4 s", "**5**", "at most 4: missed", "5 turns; noted"],
    ]
    assert ["precision", "**fp32**"] in speed_tables.machines()


@pytest.mark.slow
def test_contenders_have_processes_and_memory_of_their_own() -> None:
    arguments = {"size": "tiny", "classes": 4, "batch": 2, "precision": "fp32"}
    good = Contender("good", "benchmarks.peers:bare_prediction", arguments)
    (found,) = race([good], Settings(repeats=2, warmup=1))
    assert len(found.seconds) == 2
    assert found.memory_mib > 1
    bad = Contender("bad", "benchmarks.peers:bare_prediction", {**arguments, "size": "none"})
    with pytest.raises(RuntimeError, match="bad: KeyError"):
        race([bad], Settings())
