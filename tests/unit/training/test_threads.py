"""One classifier is asked from several threads: every answer is that of one thread."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from fewtune.core.discovery import plugins
from fewtune.model.load_strategy import load_strategy
from fewtune.testing import tiny_clip_folder, tiny_task
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
