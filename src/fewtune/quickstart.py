"""Quickstart: two shortened methods on the sample that comes with the package, and a web page."""

from pathlib import Path

from fewtune.backbones.checkpoint import describe
from fewtune.backbones.model_names import EMBEDDED
from fewtune.core.files import write_text
from fewtune.core.run_config import RunConfig
from fewtune.core.task import Task
from fewtune.datasets.catalog import resolve
from fewtune.reports import comparison_page
from fewtune.reports.model_card import write_card
from fewtune.training.job import Job, Result
from fewtune.training.named_recipes import configure
from fewtune.training.prepare import Preparation
from fewtune.training.run import run
from fewtune.training.tracking import Tracker

TASK = "fashion"
SHOTS = 16
# Factors on the recipes' lengths, for 80 steps each. A time budget would be met on any machine, but
# then the same command would give other numbers on another one, or on a busy day.
STEPS_SCALE = {"clip-lora": 0.01, "clipfit": 0.16}
# For CLIP-LoRA in a hundredth of its steps, where its own rate moves nothing: the best of three on
# validation images (experiments/pictogram-rates.toml).
SHORT_LORA_RATE = 0.01
RUNS = "fewtune-quickstart"
PAGE = "fewtune-quickstart.html"
NEXT = "fewtune fit --data MY_IMAGES --shots 16"


def quickstart(
    out: Path, seed: int = 0, backbone: str = EMBEDDED, follow: Tracker | None = None
) -> tuple[list[Result], Path]:
    """Make the runs and the page in the folder `out`, and return them.

    Raises:
        RunError: Training failed, or the folder cannot be written.
    """
    task = resolve(TASK)
    jobs = shortened_jobs(task, backbone, seed, (out / RUNS).absolute())
    results = [run(job, follow or Tracker()) for job in jobs]
    title = "FewTune quickstart: fashion from 16 images per class"
    write_text(out / PAGE, comparison_page.page(results, title, NEXT, task))
    return results, out / PAGE


def shortened_jobs(task: Task, backbone: str, seed: int, runs: Path) -> list[Job]:
    """Return the shortened runs."""
    scale = describe(backbone).logit_scale
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
                    "runs": runs,
                    **shortened_options(name, scale),
                }
            ),
            task,
        )
        for name, factor in STEPS_SCALE.items()
    ]


def shortened_options(name: str, logit_scale: float | None) -> dict[str, float]:
    """Return the settings of a method that is shortened, on a model with this logit scale.

    CLIPFit's rate and regulariser are those of the usual scale, 100. The gradient of the
    cross-entropy grows with the logit scale s, and what a step of SGD does to the logits with s^2:
    rate * (100 / s)^2 and lambda * s / 100 keep both as they are at 100.
    """
    if name == "clip-lora":
        return {"lr": SHORT_LORA_RATE}
    strategy, recipe = configure("clipfit", {})
    assert recipe is not None
    share = (logit_scale or 100) / 100
    weight = strategy.model_dump()["lambda_"]
    return {"lr": round(recipe.lr / share**2, 4), "lambda_": round(weight * share, 2)}
