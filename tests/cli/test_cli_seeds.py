"""`fewtune fit --seeds`: several runs, one table."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev

import pytest
from commands import Cli, short


@pytest.mark.usefixtures("baseline")
def test_seeds_make_a_run_each_and_one_table(
    cli: Cli, images: Path, backbone: Path, place: Path
) -> None:
    flags = ["--views", "1", "--seeds", "2,1", *short(images, backbone)]
    outcome = cli("fit linear-probe", *flags)
    assert outcome.status == 0, outcome.err
    assert "training 2 runs of linear-probe at once" in outcome.out
    table = outcome.out[outcome.out.index("pets, 3 classes, 1 shot, seeds 2, 1,") :]
    names = ("linear-probe ", "zero-shot  ", "seed 2  ", "seed 1  ", "mean  ", "deviation  ")
    places = [table.index(name) for name in (*names, "gain  ", "run      runs/linear-probe-")]
    assert places == sorted(places)
    assert max(map(len, table.splitlines()[:8])) <= 80
    assert len(list((place / "runs").glob("linear-probe-*"))) == 2

    again = cli("fit linear-probe --json", *flags)
    value = json.loads(again.out)
    assert [run["record"]["spec"]["seed"] for run in value["runs"]] == [2, 1]
    assert not any(run["fresh"] for run in value["runs"])
    losses = [run["record"]["metrics"]["calibration_error"] for run in value["runs"]]
    assert value["mean"]["calibration_error"] == mean(losses)
    assert value["deviation"]["calibration_error"] == stdev(losses) > 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("linear-probe --seeds 1,1", "--seeds must be distinct numbers, separated by commas"),
        ("linear-probe --seeds 1,two", "--seeds must be a whole number from 0"),
        ("linear-probe --seeds 1,2 --seed 3", "--seed and --seeds exclude each other"),
        ("zero-shot --seeds 1,2", "zero-shot trains nothing: every seed would give the same"),
    ],
)
def test_seeds_that_make_no_sense(cli: Cli, flags: str, words: str) -> None:
    outcome = cli(f"fit {flags} --data nowhere")
    assert outcome.status == 2
    assert words in outcome.err
