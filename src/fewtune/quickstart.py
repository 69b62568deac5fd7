"""Quickstart: two methods on the photographs that come with the package, and a web page."""

from pathlib import Path

from fewtune.backbones.model_names import PHOTO
from fewtune.core.files import write_text
from fewtune.core.run_config import RunConfig
from fewtune.core.task import Task
from fewtune.datasets.catalog import resolve
from fewtune.reports import comparison_page
from fewtune.reports.model_card import write_card
from fewtune.training.job import Job, Result
from fewtune.training.prepare import Preparation
from fewtune.training.run import run
from fewtune.training.tracking import Tracker

TASK = "clothing"
SHOTS = 16
# Factor on the recipe's length. A time budget would be met on any machine, but then the same
# command would give other numbers on another one, or on a busy day.
STEPS_SCALE = {"linear-probe": 1.0, "clip-lora": 0.01}
# For CLIP-LoRA in a hundredth of its steps, where its own rate moves little. With a fixed number of
# views of each image the stem's output is computed once.
SHORT_LORA = {"lr": 0.01, "views": 4}
RUNS = "fewtune-quickstart"
PAGE = "fewtune-quickstart.html"
NEXT = "fewtune fit --data MY_IMAGES --shots 16"


def quickstart(
    out: Path, seed: int = 0, backbone: str = PHOTO, follow: Tracker | None = None
) -> tuple[list[Result], Path]:
    """Make the runs and the page in the folder `out`, and return them.

    Raises:
        RunError: Training failed, or the folder cannot be written.
    """
    task = resolve(TASK)
    results = [run(job, follow or Tracker()) for job in jobs(task, backbone, seed, out / RUNS)]
    title = "FewTune quickstart: clothing from 16 photographs per class"
    write_text(out / PAGE, comparison_page.page(results, title, NEXT, task))
    return results, out / PAGE


def jobs(task: Task, backbone: str, seed: int, runs: Path) -> list[Job]:
    """Return the runs, CLIP-LoRA's shortened."""
    preparation = Preparation(write_card=write_card)
    return [
        preparation.job(
            RunConfig.of(
                {
                    "strategy": name,
                    "backbone": backbone,
                    "shots": SHOTS,
                    "seed": seed,
                    "steps_scale": factor,
                    "runs": runs.absolute(),
                    **(SHORT_LORA if name == "clip-lora" else {}),
                }
            ),
            task,
        )
        for name, factor in STEPS_SCALE.items()
    ]
