"""One classifier is asked from several threads: every answer is that of one thread."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from fewtune.core.discovery import plugins
from fewtune.model.load_strategy import load_strategy
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.device import chosen_threads, use_threads
from fewtune.training.job import Job
from fewtune.training.load_run import load_run
from fewtune.training.prediction import predict
from fewtune.training.run import run
from fewtune.training.tracking import Tracker

THREADS = 4


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip_folder(tmp_path_factory.mktemp("backbone") / "clip"))


@pytest.mark.parametrize("name", plugins("strategies"))
def test_answers_do_not_depend_on_who_else_asks(name: str, backbone: str, tmp_path: Path) -> None:
    kind = load_strategy(name)
    recipe = kind.recipe
    if recipe is not None and recipe.length:
        recipe = recipe.model_copy(update={"length": 2, "length_unit": "steps", "lr": 0.05})
    settings = {"precision": "fp32", "threads": 1, "runs": tmp_path}
    result = run(Job.of(kind(), tiny_task(), backbone, recipe, **settings), Tracker())
    tuned, test = load_run(result.folder, "cpu"), tiny_task().test
    images = [example.source.read() for example in test]  # type: ignore[union-attr]
    scores = tuned.scores(test)
    labels = [prediction.name for prediction in predict(tuned, images, batch=3)]
    wrong: list[str] = []

    def ask() -> None:
        for _ in range(3):
            if not torch.equal(tuned.scores(test), scores):
                wrong.append("scores")
            if [prediction.name for prediction in predict(tuned, images, batch=3)] != labels:
                wrong.append("labels")

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_answers_too(backbone: str, tmp_path: Path) -> None:
    job = Job.of(ZeroShot(), tiny_task(), backbone, None, precision="fp32", runs=tmp_path)
    tuned, test = load_run(run(job, Tracker()).folder, "cpu", threads=2), tiny_task().test
    scores = tuned.scores(test)
    parent, child = multiprocessing.get_context("fork").Pipe()

    def ask() -> None:
        use_threads(2)
        child.send(tuned.scores(test).tolist())

    fork = multiprocessing.get_context("fork").Process(target=ask)
    fork.start()
    answered = parent.poll(60)
    fork.kill()
    assert answered
    torch.testing.assert_close(torch.tensor(parent.recv()), scores, rtol=0, atol=1e-4)
    use_threads(1)


def test_threads_of_a_run_are_not_those_of_the_next(backbone: str, tmp_path: Path) -> None:
    before = torch.get_num_threads()

    def planned(**more: Any) -> int:
        job = Job.of(ZeroShot(), tiny_task(), backbone, None, precision="fp32", **more)
        threads: int = run(job, Tracker()).record["plan"]["threads"]
        return threads

    assert planned(runs=tmp_path / "a", threads=before + 1) == before + 1
    assert (planned(runs=tmp_path / "b"), torch.get_num_threads()) == (before, before)
    torch.set_num_threads(before + 2)
    assert chosen_threads() == before + 2
    use_threads(before)
    assert chosen_threads() == before + 2
    torch.set_num_threads(before)


@pytest.mark.parametrize("policy", ["PASSIVE", "ACTIVE"])
def test_threads_that_wait_sleep_unless_asked_otherwise(policy: str) -> None:
    asked = {"OMP_WAIT_POLICY": policy} if policy == "ACTIVE" else {}
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | asked
    code = "import fewtune, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [policy, "False"]
