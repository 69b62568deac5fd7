"""A miniature of every protocol, from the command to its tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Cli

import miniatures
from fewtune.core.discovery import plugins
from fewtune.core.files import read_json
from fewtune.data.decode import open_image
from fewtune.reports.protocol_tables import protocol_tables
from fewtune.testing import tiny_task

SHARED = "--precision fp32 --threads 1 --steps-scale 0.2 --quiet"
TWO = "--strategies clip-adapter,linear-probe --shots 2 --seeds 1"
# In one folder of runs: what an earlier protocol has trained is only scored by a later one.
ARGUMENTS = {
    "own": f"own {TWO} --data six",
    "few-shot": f"few-shot {TWO} --data six,four",
    "base-to-new": f"base-to-new {TWO} --data six",
    "cross-dataset": f"cross-dataset {TWO} --source six --targets four",
    "domain-shift": f"domain-shift {TWO} --source six --targets four,six",
    "vtab-1k": "vtab.toml --root data",
}
VTAB = """protocol = "vtab-1k"
title = "One task"
expected = ["nothing"]
strategies = ["linear-probe"]
data = "vtab/clevr-count"
seeds = [1]
[[grid.linear-probe]]
lr = 0.1
weight-decay = 0.01
[[grid.linear-probe]]
lr = 0.01
"""
# Percent, by table and row.
FEW_SHOT = {
    "Zero-shot CLIP": ["19.4", "25.0", "22.2"],
    "CLIP-Adapter": ["22.2", "25.0", "23.6"],
    "Linear probe": ["52.8", "95.8", "74.3"],
}
HALVES = {
    "Zero-shot CLIP": ["38.9", "38.9", "38.9"],
    "CLIP-Adapter": ["38.9", "44.4", "41.5"],
    "Linear probe": ["100.0", "–", "–"],
}
TABLES = {
    "own-2": {title: [texts[0]] * 2 for title, texts in FEW_SHOT.items()},
    "own-averages": {title: texts[:1] for title, texts in FEW_SHOT.items()},
    "few-shot-2": FEW_SHOT,
    "few-shot-averages": {title: texts[2:] for title, texts in FEW_SHOT.items()},
    "base-to-new-six": HALVES,
    "cross-dataset": {
        "Zero-shot CLIP": ["19.4", "25.0", "25.0"],
        "CLIP-Adapter": ["22.2", "29.2", "29.2"],
        "Linear probe": ["52.8", "–", "–"],
    },
    "domain-shift": {
        "Zero-shot CLIP": ["19.4", "25.0", "19.4", "22.2"],
        "CLIP-Adapter": ["22.2", "29.2", "22.2", "25.7"],
        "Linear probe": ["52.8", "–", "52.8", "–"],
    },
    "vtab-1k": {
        "Zero-shot CLIP": ["0.0"] * 4,
        "Linear probe": ["25.0"] * 4,
    },
}


@pytest.fixture
def data(place: Path) -> None:
    """Two tasks of six and four classes that can be learned, and a miniature of one of VTAB's."""
    for name, classes in (("six", 6), ("four", 4)):
        task = tiny_task(classes=classes)
        for example in (*task.train, *task.test):
            path = place / name / f"{example.key}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            open_image(example.source).save(path)
    miniatures.write("vtab/clevr-count", "list folder", place / "data")
    (place / "vtab.toml").write_text(VTAB)


@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_a_miniature_of_every_protocol_has_its_tables(
    cli: Cli, backbone: Path, place: Path
) -> None:
    assert ARGUMENTS.keys() == plugins("protocols").keys()
    made = []
    for name, arguments in ARGUMENTS.items():
        done = cli(f"sweep {arguments} {SHARED} --backbone", backbone)
        assert done.status == 0, done.err
        assert f"tables  runs/{name}.md" in done.out
        made.append(len(list(place.glob("runs/*/record.json"))))
    # Zero-shot and two strategies on six, four, half of six; two trials, a final, two zero-shot.
    assert made == [3, 6, 9, 9, 9, 14]
    tables = protocol_tables([place])
    found = {t.name: {r.title: [e.text for e in r.entries] for r in t.rows} for t in tables}
    assert found == TABLES


def test_what_is_missing_is_said_with_the_way_to_get_it(
    cli: Cli, images: Path, backbone: Path, place: Path
) -> None:
    flags = f"--strategies zero-shot --backbone {backbone} --root {place} --precision fp32 --quiet"
    done = cli(f"sweep own --dry-run {flags} --data {images},fewshot/dtd")
    assert done.status == 0, done.err
    assert "2 runs, 0 complete" in done.out
    assert "1 run cannot be made: fewshot/dtd is not below" in done.out
    assert "fewtune data download fewshot/dtd" in done.out
    assert not (place / "runs").exists()
    done = cli(f"sweep cross-dataset {flags} --source {images} --targets fewshot/dtd")
    assert done.status == 1, done.err
    assert "Not scored on fewshot/dtd" in done.out
    (failure,) = place.glob("runs/zero-shot-pets-*/failure.json")
    assert "fewtune data download fewshot/dtd" in read_json(failure)["error"]
    assert (failure.parent / "record.json").exists()
    assert cli(f"sweep own {flags} --data fewshot/dtd").status == 2
