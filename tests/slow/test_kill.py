"""Runs that are killed or interrupted at any moment end in the same bytes; saved runs in other
processes give the same scores.

Children are forked from a server that has imported everything, so a kill costs no start-up.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from fewtune.core.discovery import plugins
from fewtune.model.load_strategy import load_strategy
from fewtune.strategies.clip_lora import ClipLora
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.job import Job
from fewtune.training.load_run import load_run
from fewtune.training.run import run, train
from fewtune.training.tracking import Tracker

pytestmark = pytest.mark.slow

STEPS = 20
FILES = ("adapter.safetensors", "predictions.csv")
CONTEXT: Any = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["fewtune.training.run", "fewtune.testing", "matplotlib.pyplot"])


def job(root: Path, runs: Path, interval_s: float = 0.0) -> Job:
    """CLIP-LoRA with dropout and fresh views: everything random that there is."""
    strategy = ClipLora()
    recipe = type(strategy).recipe
    assert recipe is not None
    recipe = recipe.model_copy(update={"length": STEPS, "length_unit": "steps", "batch_size": 8})
    return Job.of(
        strategy,
        tiny_task(),
        str(root / "backbone"),
        recipe,
        device="cpu",
        precision="fp32",
        threads=1,
        runs=runs,
        checkpoint_interval_s=interval_s,
    )


def fit(root: Path, runs: Path, interval_s: float) -> None:
    """What a child does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # test workers ignore Ctrl-C
    os.environ["MPLBACKEND"] = "Agg"
    run(job(root, runs, interval_s), Tracker())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the backbone and the uninterrupted run."""
    root = tmp_path_factory.mktemp("kill")
    tiny_clip_folder(root / "backbone")
    in_child(root, root / "whole")
    return root


def start(root: Path, runs: Path, interval_s: float = 0.0) -> Any:
    process = CONTEXT.Process(target=fit, args=(root, runs, interval_s))
    process.start()
    return process


def in_child(root: Path, runs: Path) -> None:
    process = start(root, runs)
    process.join(100)
    assert process.exitcode == 0


def folder(runs: Path) -> Path | None:
    """The run's folder, once it is there."""
    return next(iter(runs.glob("clip-lora-*")), None)


def lines(runs: Path) -> int:
    """Step lines written so far."""
    path = folder(runs)
    log = path and path / "metrics.jsonl"
    return log.read_text().count("\n") if log and log.exists() else 0


def exists(name: str) -> Callable[[Path], bool]:
    return lambda runs: any(runs.glob(f"clip-lora-*/{name}"))


def after(count: int) -> Callable[[Path], bool]:
    return lambda runs: lines(runs) >= count


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "zero-shot-begins": lambda runs: any(runs.glob("zero-shot-*/.lock")),
    "zero-shot-evaluated": lambda runs: any(runs.glob("zero-shot-*/predictions.csv")),
    "folder-made": exists(".lock"),
    "plan-written": exists("plan.json"),
    "first-step": after(1),
    "checkpoint-being-written": exists(".checkpoint.*.tmp"),
    "most": after(STEPS - 4),
    "last-step": after(STEPS),
    "adapter-written": exists("adapter.safetensors"),
    "predictions-written": exists("predictions.csv"),
}


def wait_for(moment: Callable[[Path], bool], runs: Path, process: Any) -> None:
    deadline = time.monotonic() + 60
    while not moment(runs):
        assert process.is_alive(), "the run ended before its moment came"
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def assert_equals_the_whole(root: Path, runs: Path) -> None:
    whole, found = folder(root / "whole"), folder(runs)
    assert whole is not None
    assert found is not None
    for name in FILES:
        assert (found / name).read_bytes() == (whole / name).read_bytes(), name
    logs = [(path / "metrics.jsonl").read_text().splitlines() for path in (whole, found)]
    assert logs[0] == logs[1]
    left = {path.name for path in found.iterdir()} - {path.name for path in whole.iterdir()}
    assert not left


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_in_the_same_bytes(root: Path, tmp_path: Path, moment: str) -> None:
    runs = tmp_path / "runs"
    if not moment.startswith("zero-shot"):  # saves computing it again
        for path in (root / "whole").glob("zero-shot-*"):
            shutil.copytree(path, runs / path.name)
    process = start(root, runs)
    wait_for(MOMENTS[moment], runs, process)
    process.kill()
    process.join(100)
    assert process.exitcode == -signal.SIGKILL
    path = folder(runs)
    assert path is None or not (path / "record.json").exists()
    in_child(root, runs)
    assert_equals_the_whole(root, runs)


def test_ctrl_c_leaves_a_checkpoint_of_the_last_step(root: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for path in (root / "whole").glob("zero-shot-*"):
        shutil.copytree(path, runs / path.name)
    process = start(root, runs, interval_s=1e9)
    wait_for(after(5), runs, process)
    os.kill(process.pid, signal.SIGINT)
    process.join(100)
    assert process.exitcode == 1
    path = folder(runs)
    assert path is not None
    with safe_open(path / "checkpoint.safetensors", "pt") as file:
        done = int(file.metadata()["step"])
    assert 5 <= done == lines(runs) < STEPS
    in_child(root, runs)
    assert_equals_the_whole(root, runs)


def test_two_processes_do_not_share_a_run(root: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for path in (root / "whole").glob("zero-shot-*"):
        shutil.copytree(path, runs / path.name)
    first = start(root, runs)
    wait_for(after(1), runs, first)
    os.kill(first.pid, signal.SIGSTOP)
    second = start(root, runs)
    second.join(100)
    assert second.exitcode == 1
    os.kill(first.pid, signal.SIGCONT)
    first.join(100)
    assert first.exitcode == 0
    assert_equals_the_whole(root, runs)


SCORES = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from fewtune.training.load_run import load_run
from fewtune.testing import tiny_task
test = tiny_task().test
scores = {path: load_run(Path(path), "cpu").scores(test).tolist() for path in sys.argv[1:]}
print(json.dumps(scores))
"""


@pytest.mark.timeout(300)
def test_saved_runs_give_equal_logits_in_a_fresh_process(root: Path, tmp_path: Path) -> None:
    task = tiny_task()
    untested = replace(task, test=())
    expected = {}
    for name in plugins("strategies"):
        kind = load_strategy(name)
        for inference in kind.types:
            recipe = kind.recipe
            if recipe and recipe.length:
                recipe = recipe.model_copy(update={"length": 3, "length_unit": "steps"})
            strategy = kind(type=inference)
            asked = replace(job(root, tmp_path), strategy=strategy, recipe=recipe, task=untested)
            path = train(asked, Tracker())
            expected[str(path)] = load_run(path, "cpu").scores(task.test).tolist()
    command = [sys.executable, "-c", SCORES, *expected]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
