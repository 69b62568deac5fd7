"""What a run survives: torn, foreign and newer files, a full disk, divergence, Ctrl-C, company."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fewtune.core.errors import AdapterError, ConfigError, RunError
from fewtune.core.files import read_json, write_json, write_text
from fewtune.core.spec import Plan
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.strategies.clip_adapter import ClipAdapter
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.clipfit import ClipFit
from fewtune.strategies.vpt_deep import VptDeep
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.checkpoints import Checkpoints
from fewtune.training.estimate import estimate_cost
from fewtune.training.job import Job
from fewtune.training.load_run import load_run
from fewtune.training.loop import Training, tune
from fewtune.training.run import train
from fewtune.training.run_folder import RunFolder
from fewtune.training.run_model import attach
from fewtune.training.tracking import JsonLines, Step, Tracker

TASK = tiny_task()
STEPS = 5


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("files") / "clip")


def job(backbone: Path, runs: Path, strategy: Strategy | None = None, **recipe: Any) -> Job:
    strategy = strategy or ClipAdapter()
    default = type(strategy).recipe
    assert default is not None
    changes = {"length": STEPS, "length_unit": "steps", "batch_size": 8, "views": 0, **recipe}
    return Job.of(
        strategy,
        replace(TASK, test=()),
        str(backbone),
        default.model_copy(update=changes),
        device="cpu",
        precision="fp32",
        threads=1,
        runs=runs,
        checkpoint_interval_s=0,
    )


def training(backbone: Path, strategy: Strategy | None = None, **recipe: Any) -> Training:
    asked = job(backbone, Path(), strategy, **recipe)
    settings = asked.resolved_recipe()
    assert settings is not None
    support = TASK.support()
    head = attach(asked.strategy, tiny_clip(backbone), support.classes, settings, 0)
    return Training(head, support, settings, Plan(device="cpu", threads=1), "fp32", 0, 0)


class Stop(Tracker):
    """Leaves as a crash would, or as Ctrl-C does, after a step."""

    def __init__(self, after: int, error: BaseException) -> None:
        self.after = after
        self.error = error

    def log(self, step: Step) -> None:
        if step.step == self.after:
            raise self.error


def resume(training: Training, checkpoints: Checkpoints, tracker: Tracker) -> None:
    start = checkpoints.restore(0, training.head, training.optimizer)
    tune(training, "tune", checkpoints, tracker, start or 0)


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def values(head: Head) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in head.saved().items()}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


class Keep(Tracker):
    """Keeps the checkpoint of every step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, step: Step) -> None:
        if step.step > 1:
            shutil.copy(self.path, self.path.with_name(str(step.step - 1)))


def test_resuming_at_every_step_gives_the_same_tensors(backbone: Path, tmp_path: Path) -> None:
    whole, path = training(backbone, ClipLora()), tmp_path / "checkpoint.safetensors"
    tune(whole, "tune", Checkpoints(path, 0), Keep(path))
    shutil.copy(path, tmp_path / str(STEPS))
    for step in range(1, STEPS + 1):
        resumed, checkpoints = training(backbone, ClipLora()), Checkpoints(tmp_path / str(step))
        if step == 2:
            estimate_cost(resumed)
        resume(resumed, checkpoints, Stop(step, AssertionError("a step was repeated")))
        assert equal(values(resumed.head), values(whole.head)), step


@pytest.mark.usefixtures("python_handles_ctrl_c")
@pytest.mark.parametrize(("when", "strategy"), [("before", ClipFit()), ("after", ClipAdapter())])
def test_ctrl_c_within_a_step_waits_for_its_end(
    backbone: Path, tmp_path: Path, when: str, strategy: Strategy
) -> None:
    whole = training(backbone, strategy)
    tune(whole, "tune", Checkpoints(tmp_path / "whole", math.inf), Tracker())
    interrupted = training(backbone, strategy)
    optimizer: Any = interrupted.optimizer
    hook = {"before": optimizer.register_step_pre_hook, "after": optimizer.register_step_post_hook}
    hook[when](lambda *_: signal.raise_signal(signal.SIGINT))
    path = tmp_path / "half.safetensors"
    with pytest.raises(KeyboardInterrupt):
        tune(interrupted, "tune", Checkpoints(path, math.inf), Tracker())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = training(backbone, strategy)
    assert Checkpoints(path).restore(0, resumed.head, resumed.optimizer) == 1
    resume(resumed, Checkpoints(path, math.inf), Tracker())
    assert equal(values(resumed.head), values(whole.head))


def test_a_loss_that_is_not_a_number_names_the_step_and_loses_nothing(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(job(backbone, tmp_path / "whole"), Tracker())
    forward = Training.forward
    broken = {2}

    def diverge(self: Training, step: int) -> torch.Tensor:
        loss = forward(self, step)
        return loss * math.nan if step in broken else loss

    monkeypatch.setattr(Training, "forward", diverge)
    with pytest.raises(RunError, match=r"nan at step 3 of 5") as error:
        train(job(backbone, tmp_path / "runs"), Tracker())
    assert f"--lr {ClipAdapter.recipe.lr / 10:g}" in error.value.hint
    broken.clear()
    folder = train(job(backbone, tmp_path / "runs"), Tracker())
    for name in ("adapter.safetensors", "metrics.jsonl"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("damage", ["empty", "torn", "text", "no-meta", "foreign", "shape", "step"])
def test_a_checkpoint_that_does_not_fit_is_an_error_and_changes_nothing(
    backbone: Path, tmp_path: Path, damage: str
) -> None:
    subject = training(backbone)
    path = tmp_path / "checkpoint.safetensors"
    Checkpoints(path).save(0, 2, subject.head, subject.optimizer)
    whole = path.read_bytes()
    tensors = load_file(path)
    meta = {"phase": "0", "step": "2"}
    if damage in ("empty", "torn", "text"):
        path.write_bytes({"empty": b"", "torn": whole[:-9], "text": b"not tensors"}[damage])
    elif damage == "no-meta":
        save_file(tensors, path)
    elif damage == "foreign":
        save_file({f"other.{name}": value for name, value in tensors.items()}, path, meta)
    elif damage == "shape":
        save_file({n: torch.zeros(3) for n in tensors}, path, meta)
    else:
        save_file(tensors, path, {**meta, "step": "two"})
    before = values(subject.head)
    with pytest.raises(RunError, match="not a checkpoint of this run") as error:
        Checkpoints(path).restore(0, subject.head, subject.optimizer)
    assert "Delete the file" in error.value.hint
    assert equal(values(subject.head), before)
    assert not subject.optimizer.state


def test_a_full_disk_leaves_the_old_checkpoint(backbone: Path, tmp_path: Path) -> None:
    subject = training(backbone)
    path = tmp_path / "checkpoint.safetensors"
    Checkpoints(path).save(0, 1, subject.head, subject.optimizer)
    before = path.read_bytes()
    subject.step(0)
    with small_disk(100), pytest.raises(RunError, match=r"Cannot write .*checkpoint"):
        Checkpoints(path).save(0, 2, subject.head, subject.optimizer)
    assert path.read_bytes() == before
    assert names(tmp_path) == {"checkpoint.safetensors"}
    folder = RunFolder(tmp_path)
    with small_disk(100), pytest.raises(RunError, match=r"Cannot write .*adapter"):
        folder.save_adapter(subject.head)
    assert not folder.adapter.exists()


@pytest.mark.parametrize("limit", [0, 300])
def test_a_run_on_a_full_disk_stops_with_one_line_and_can_go_on(
    backbone: Path, tmp_path: Path, limit: int
) -> None:
    asked = job(backbone, tmp_path / "runs")
    with small_disk(limit), pytest.raises(RunError, match="Cannot write"):
        train(asked, Tracker())
    folder = train(asked, Tracker())
    assert RunFolder(folder).complete()
    assert not [name for name in names(folder) if name.endswith(".tmp")]


def test_a_failed_replacement_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def refuse(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(RunError, match="No space left on device"):
        write_json(path, {"new": 2})
    assert read_json(path) == {"old": 1}
    assert names(tmp_path) == {"a.json"}


def test_the_log_on_a_full_disk(tmp_path: Path) -> None:
    log = JsonLines()
    log.start(tmp_path, {})
    log.log(Step("tune", 1, 9, 1.0, 0.1, 0.0))
    with small_disk(10), pytest.raises(RunError, match="Cannot write"):
        log.log(Step("tune", 2, 9, 1.0, 0.1, 0.0))


def test_a_resumed_log_drops_torn_and_repeated_lines(tmp_path: Path) -> None:
    log = JsonLines()
    log.start(tmp_path, {})
    for step in range(1, 5):
        log.log(Step("tune", step, 9, 1.0, 0.1, 0.0))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "tune", "st')
    again = JsonLines()
    again.start(tmp_path, {})
    for step in range(3, 6):
        again.log(Step("tune", step, 9, 2.0, 0.1, 0.0))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [
        (1, 1.0),
        (2, 1.0),
        (3, 2.0),
        (4, 2.0),
        (5, 2.0),
    ]


def test_runs_folder_that_cannot_be_made(backbone: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"Cannot write in .*Not a directory"):
        train(job(backbone, tmp_path / "file"), Tracker())


def test_a_folder_in_use_is_refused(backbone: Path, tmp_path: Path) -> None:
    asked = job(backbone, tmp_path)

    class Again(Tracker):
        def log(self, step: Step) -> None:
            with pytest.raises(RunError, match="Another process"):
                train(asked, Tracker())

    folder = train(asked, Again())
    assert RunFolder(folder).complete()


@pytest.fixture(scope="module")
def finished(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(job(backbone, tmp_path_factory.mktemp("finished")), Tracker())


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    target = tmp_path / finished.name
    target.mkdir()
    for path in finished.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_finished_run_loads(copy: Path) -> None:
    assert load_run(copy, "cpu").scores(TASK.test).shape == (len(TASK.test), 3)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("spec.json", "{", "not a readable JSON"),
        ("spec.json", "[]", "has format None"),
        ("spec.json", '{"format": 2}', "has format 2; this FewTune reads format 1"),
        ("spec.json", '{"format": 1, "strategy": "x"}', "does not describe a run: version"),
        ("record.json", "{", "not a readable JSON"),
        ("task.json", "", "not a readable JSON"),
        ("task.json", "{}", "task.json"),
        ("task.json", '{"classes": 3}', "task.json"),
    ],
)
def test_damaged_descriptions(copy: Path, file: str, text: str, message: str) -> None:
    write_text(copy / file, text)
    with pytest.raises(RunError, match=message):
        load_run(copy, "cpu")


def test_a_plan_that_is_damaged(copy: Path) -> None:
    write_text(copy / "plan.json", '{"device": "cpu", "threads": 0}')
    with pytest.raises(RunError, match="does not describe a run: threads"):
        RunFolder(copy).plan()


def test_a_newer_unfinished_run_is_not_overwritten(backbone: Path, copy: Path) -> None:
    (copy / "record.json").unlink()
    write_json(copy / "spec.json", {**read_json(copy / "spec.json"), "format": 2})
    before = (copy / "spec.json").read_bytes()
    with pytest.raises(RunError, match="has format 2"):
        train(job(backbone, copy.parent), Tracker())
    assert (copy / "spec.json").read_bytes() == before


def test_an_unfinished_run_is_no_classifier(copy: Path) -> None:
    (copy / "record.json").unlink()
    with pytest.raises(RunError, match="not complete"):
        load_run(copy, "cpu")
    with pytest.raises(RunError, match="not a run folder"):
        load_run(copy.parent, "cpu")


@pytest.mark.parametrize("damage", ["missing", "torn", "other-strategy", "other-width"])
def test_an_adapter_that_does_not_fit(backbone: Path, copy: Path, damage: str) -> None:
    path = copy / "adapter.safetensors"
    if damage == "missing":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:-4])
    else:
        other = VptDeep() if damage == "other-strategy" else ClipAdapter(reduction=2)
        head = other.attach(tiny_clip(backbone), TASK.classes)
        RunFolder(copy).save_adapter(head)
    message = "cannot be read" if damage in ("missing", "torn") else "does not belong"
    with pytest.raises(AdapterError, match=message):
        load_run(copy, "cpu")


def test_another_version_of_the_strategy_is_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClipAdapter, "version", 2)
    with pytest.raises(AdapterError, match="version 1 of clip-adapter; version 2"):
        load_run(copy, "cpu")


def test_a_changed_backbone_is_refused(copy: Path, tmp_path: Path) -> None:
    other = tiny_clip_folder(tmp_path / "other", seed=1)
    write_json(copy / "spec.json", {**read_json(copy / "spec.json"), "backbone": str(other)})
    write_json(copy / "backbone.json", {"path": str(other)})
    with pytest.raises(AdapterError, match="The run was trained on"):
        load_run(copy, "cpu")


@pytest.mark.parametrize("strategy", [ClipFit(biases="none", norms="none"), VptDeep(tokens=0)])
def test_nothing_to_train_is_an_error(backbone: Path, tmp_path: Path, strategy: Strategy) -> None:
    with pytest.raises(ConfigError, match="nothing to train"):
        train(job(backbone, tmp_path, strategy), Tracker())
