"""Short runs on a random CLIP, and the same runs opened for a look inside."""

from __future__ import annotations

from pathlib import Path

import pytest
from short_runs import SHOTS, Tuned

from fewtune.analysis.replay import Opened, open_run
from fewtune.model.strategy import Strategy
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.job import Job
from fewtune.training.run import run
from fewtune.training.tracking import Tracker


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("backbone") / "tiny")


@pytest.fixture(scope="session")
def tuned(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """Make a run of a few steps, once, and open it with its images."""
    runs = tmp_path_factory.mktemp("runs")
    made: dict[Strategy, Opened] = {}

    def make(strategy: Strategy, steps: int = 4) -> Opened:
        if strategy not in made:
            assert strategy.recipe is not None
            recipe = strategy.recipe.model_copy(
                update={"length": steps, "length_unit": "steps", "lr": 0.01, "batch_size": 4}
            )
            task = tiny_task()
            job = Job.of(
                strategy, task, str(backbone), recipe=recipe, shots=SHOTS, seed=3,
                precision="fp32", threads=1, runs=runs, no_cache=True,
            )  # fmt: skip
            made[strategy] = open_run(run(job, Tracker()).folder, strategy.title, task)
        return made[strategy]

    return make
