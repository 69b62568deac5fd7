"""The papers' experiments: each file is a sweep as large as theirs, and its scores are its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from commands import Cli

from fewtune.cli.support import sweep_run
from fewtune.core.protocol import Case
from fewtune.core.spec import ZERO_SHOT
from fewtune.core.toml import read_toml
from fewtune.datasets.catalog import task_name
from fewtune.reports.citations import references
from fewtune.reports.reproduction import Experiment
from fewtune.sweeps.case_jobs import CaseJobs
from fewtune.sweeps.runner import CaseSource
from fewtune.sweeps.sources import SweepFile

FOLDER = Path(__file__).parents[2] / "experiments"
# Runs, and published scores that they are expected to give. By hand: 11 datasets, shots 1 to 16,
# seeds 1 to 3 and zero-shot are 11 * (1 + 5 * 3) = 176 runs of one strategy with one backbone.
COUNTS = {
    "clip-lora": (3 * 176, 82),
    "clip-lora-baselines": (11 + 3 * 165, 192),
    "clipfit-few-shot": (176, 0),
    "clipfit-base-to-new": (11 + 11 * 3, 21),
    "clipfit-cross-dataset": (1 + 3, 0),
    "clipfit-domain-shift": (1 + 3, 5),
    "peft4clip": (7 * 18 * (1 + 3 * 2 * 4), 0),
    # The search comes first: ten rates and four decays; five seeds of 2 * 19 tasks follow.
    "vpt-vtab-1k": (19 + 2 * 19 * 40, 13),
}


def source_of(cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch) -> CaseSource:
    """Return what the command line makes of a file, before anything is opened."""
    found: list[CaseSource] = []

    def keep(file: SweepFile, settings: Mapping[str, Any], values: object) -> int:
        found.append(file.source({k: v for k, v in settings.items() if k in file.fields}))
        return 0

    monkeypatch.setattr(sweep_run, "sweep_and_show", keep)
    done = cli("sweep", file)
    assert done.status == 0, done.err
    return found[0]


@pytest.mark.parametrize("name", COUNTS)
def test_an_experiment_is_as_large_as_the_papers(
    cli: Cli, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = FOLDER / f"{name}.toml"
    cases = source_of(cli, file, monkeypatch).cases([])
    runs, scores = COUNTS[name]
    assert len(cases) == runs
    values = read_toml(file)
    assert values.get("paper", "") in {"", *references()}
    for case in {(case.strategy, case.data): case for case in cases}.values():
        assert CaseJobs(str(file), {}).config(case).data == case.data
    places = Experiment.of(values, file).places() if scores else []
    assert len(places) == scores
    given = {
        (case.strategy, case.backbone, task, case.shots)
        for case in cases
        for task in tasks_of(case)
    }
    for place in places:
        shots = {shots for *_, shots in given} if place.strategy == ZERO_SHOT else {place.shots}
        for task in place.tasks:
            assert any((place.strategy, place.backbone, task, s) in given for s in shots), place
    row = re.search(rf"^\| `{name}\.toml` .*$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert row, "not in experiments/README.md"
    assert f"| {runs:,}" in row[0]
    assert (f"| {scores} " in row[0]) == bool(scores)


def tasks_of(case: Case) -> set[str]:
    return {task_name(target.data) for target in (case.own, *case.elsewhere)}


def test_every_experiment_is_counted() -> None:
    own = {"pictogram-study", "pictogram-rates", "photo-study"}
    others = {"clip-lora-figure-3", "clipfit-ablation", *own}
    assert {file.stem for file in FOLDER.glob("*.toml")} - others == COUNTS.keys()
