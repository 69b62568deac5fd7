"""Every follower of a run hears what happened, and the log survives being killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fewtune.core.errors import ConfigError, RunError
from fewtune.training.tracking import Estimate, JsonLines, Step, Tracker, Trackers, make_tracker

RECORD = {"metrics": {"top1": 0.5, "f1": 0.25}, "cost": {"steps": 3}}


def step(number: int, phase: str = "tune") -> Step:
    return Step(phase, number, 3, loss=1.0 / number, lr=0.1, left_s=1.0)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_json_lines_hold_steps_then_results(tmp_path: Path) -> None:
    log = JsonLines()
    log.start(tmp_path, {})
    for number in (1, 2, 3):
        log.log(step(number))
    log.finish(RECORD)
    found = lines(tmp_path)
    assert [line.get("step") for line in found] == [1, 2, 3, None]
    assert found[1] == {"phase": "tune", "step": 2, "total": 3, "loss": 0.5, "lr": 0.1}
    assert found[-1] == {"metrics": RECORD["metrics"]}


def test_a_resumed_log_repeats_no_step_and_drops_a_torn_line(tmp_path: Path) -> None:
    first = JsonLines()
    first.start(tmp_path, {})
    first.log(step(1, "warm"))
    for number in (1, 2, 3):
        first.log(step(number))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "tune", "st')
    second = JsonLines()
    second.start(tmp_path, {})
    second.log(step(2))
    found = [(line["phase"], line["step"]) for line in lines(tmp_path)]
    assert found == [("warm", 1), ("tune", 1), ("tune", 2)]


def test_a_log_that_cannot_be_written_is_a_run_error(tmp_path: Path) -> None:
    log = JsonLines()
    log.start(tmp_path / "gone", {})
    with pytest.raises(RunError, match=r"Cannot write .*metrics\.jsonl"):
        log.log(step(1))


def test_all_trackers_hear_everything(tmp_path: Path) -> None:
    class Ear(Tracker):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def __getattribute__(self, name: str) -> Any:
            if name in ("start", "status", "estimate", "log", "finish"):
                return lambda *_: self.heard.append(name)
            return super().__getattribute__(name)

    ears = [Ear(), Ear()]
    all_of_them = Trackers(ears)
    all_of_them.start(tmp_path, {})
    all_of_them.status("encoding")
    all_of_them.estimate(Estimate(1, 1.0, 1.0))
    all_of_them.log(step(1))
    all_of_them.finish(RECORD)
    assert [ear.heard for ear in ears] == [["start", "status", "estimate", "log", "finish"]] * 2


def test_tensorboard_files_hold_the_losses(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = make_tracker("tensorboard")
    tracker.start(tmp_path, {"strategy": "clip-lora"})
    for number in (1, 2, 3):
        tracker.log(step(number))
    tracker.finish(RECORD)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("tune/loss")}
    assert losses == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3})
    assert events.Scalars("test/top1")[0].value == 0.5


def test_wandb_is_told_what_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    started = SimpleNamespace(log=calls.append, finish=lambda: calls.append("finish"))

    def init(**options: Any) -> Any:
        calls.append(options)
        return started

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    folder = tmp_path / "clip-lora-x-0123456789ab"
    tracker = make_tracker("wandb")
    tracker.start(folder, {"seed": 1})
    tracker.log(step(2))
    tracker.finish(RECORD)
    assert calls[0]["id"] == "0123456789ab"
    assert calls[0]["config"] == {"seed": 1}
    assert calls[1] == {"tune/step": 2, "tune/loss": 0.5, "tune/lr": 0.1}
    assert calls[2:] == [{"test/top1": 0.5, "test/f1": 0.25}, "finish"]


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_missing_package_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=rf"fewtune\[{name}\]"):
        make_tracker(name)


def test_an_unknown_tracker_meets_the_closest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'wandb'"):
        make_tracker("wandbb")
