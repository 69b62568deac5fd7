"""Phases: interrupted in any of them and continued, a run writes the bytes of an uninterrupted one.

The second phase reads what the first one has made of the towers: in its class embeddings, in its
features, and in a tensor that no checkpoint holds.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from two_phases import TwoPhases

from fewtune.core.files import read_json
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.job import Job
from fewtune.training.run import Execution, run, train
from fewtune.training.run_model import load_backbone
from fewtune.training.tracking import Step, Tracker

FILES = ("adapter.safetensors", "metrics.jsonl")
STEPS = 12  # of a phase: 12 images in batches of 4, four epochs


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("phases") / "clip")


def job(backbone: Path, runs: Path, **changes: Any) -> Job:
    recipe = {name: changes.pop(name) for name in ("views", "crop_scale") if name in changes}
    settings = {"device": "cpu", "precision": "fp32", "threads": 1, "checkpoint_interval_s": 0}
    return Job.of(
        TwoPhases(),
        replace(tiny_task(), test=()),
        str(backbone),
        TwoPhases.recipe.model_copy(update=recipe),
        runs=runs,
        **settings | changes,
    )


class Leave(Tracker):
    """Leaves at a step of a phase, as Ctrl-C does or as a crash would."""

    def __init__(self, phase: str, step: int, error: type[BaseException]) -> None:
        self.at = (phase, step)
        self.error = error

    def log(self, step: Step) -> None:
        if (step.phase, step.step) == self.at:
            raise self.error


@pytest.mark.parametrize(
    "settings",
    [{}, {"no_cache": True}, {"views": 0}, {"crop_scale": None, "cache_dir": "activations"}],
    ids=["views", "no cache", "new views", "disk"],
)
def test_a_resumed_run_writes_the_same_bytes(
    backbone: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    if "cache_dir" in settings:
        settings = {**settings, "cache_dir": tmp_path / "activations"}
    whole = train(job(backbone, tmp_path / "whole", **settings), Tracker())
    ctrl_c, crash = KeyboardInterrupt, ZeroDivisionError
    steps = [("tune", STEPS, crash), ("probe", 1, ctrl_c), ("probe", 6, crash)]
    for index, place in enumerate(steps):
        runs = tmp_path / f"{index}"
        with pytest.raises(place[-1]):
            train(job(backbone, runs, **settings), Leave(*place))
        resumed = train(job(backbone, runs, **settings), Tracker())
        for name in FILES:
            assert (resumed / name).read_bytes() == (whole / name).read_bytes(), (place, name)
        assert read_json(resumed / "record.json")["cost"]["steps"] == 2 * STEPS


def test_interrupted_in_each_phase_in_turn(backbone: Path, tmp_path: Path) -> None:
    whole = train(job(backbone, tmp_path / "whole"), Tracker())
    for place in (("tune", 5), ("tune", 9), ("probe", 2), ("probe", 7)):
        with pytest.raises(KeyboardInterrupt):
            train(job(backbone, tmp_path / "runs"), Leave(*place, KeyboardInterrupt))
    resumed = train(job(backbone, tmp_path / "runs"), Tracker())
    for name in FILES:
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name
    logged = [json.loads(line) for line in (resumed / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("step") for row in logged] == [*range(1, 13), *range(1, 13), None]


def test_phases_share_a_time_budget(backbone: Path, tmp_path: Path) -> None:
    asked = job(backbone, tmp_path, time_budget_s=1e-3)
    execution = Execution(asked, load_backbone(asked, Tracker()), Tracker())
    execution.execute(None)
    plan = execution.folder.plan()
    assert plan is not None
    whole = job(backbone, tmp_path / "half", time_budget_s=1e9)
    assert read_json(train(whole, Tracker()) / "record.json")["cost"]["steps"] == 2 * STEPS
    assert execution.folder.record()["cost"]["steps"] < 2 * STEPS
    assert plan.steps_scale < 1


def test_a_run_of_two_phases_is_evaluated_as_it_was_trained(backbone: Path, tmp_path: Path) -> None:
    asked = replace(job(backbone, tmp_path), task=tiny_task())
    result = run(asked, Tracker())
    assert result.record["metrics"]["top1"] > result.zero_shot["metrics"]["top1"]
