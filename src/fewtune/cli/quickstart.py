"""Try FewTune in a minute, offline: two methods on an embedded sample, and a web page.

The embedded pictogram model `picto` is tuned on 16 images per class of a Fashion-MNIST sample with
CLIP-LoRA and CLIPFit, both with shortened recipes, and compared with zero-shot. Nothing is
downloaded. The same command again shows the same results.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fewtune.backbones.model_names import EMBEDDED
from fewtune.cli.support.console import Console, count, duration
from fewtune.cli.support.options import Command, Option, Value

if TYPE_CHECKING:
    from fewtune.core.task import Task
    from fewtune.training.job import Job
    from fewtune.training.run import Result

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

OPTIONS = (
    Option(["--out"], type=click.Path(path_type=Path, file_okay=False), default=Path(),
           shown="the current folder", metavar="DIR", help="Where the page and the runs go."),
    Option(["--seed"], type=Value(int, ge=0, le=2**31 - 1), default=0, shown="0",
           help="Seed of the draw and of training."),
    Option(["--backbone"], default=EMBEDDED, hidden=True),
)  # fmt: skip


def run(out: Path, seed: int, backbone: str) -> None:
    """Run the comparison, print its table and write its page."""
    from fewtune.cli.support.progress import make_terminal
    from fewtune.datasets.catalog import resolve
    from fewtune.reports.comparison_page import write_page
    from fewtune.training.run import run as execute

    console = Console()
    task = resolve(TASK)
    console.line(
        f"{len(STEPS_SCALE)} methods on {len(task.classes)} classes, {SHOTS} training images each; "
        "about a minute, no network."
    )
    with make_terminal(console) as terminal:
        results = [
            execute(job, terminal) for job in jobs(task, backbone, seed, (out / RUNS).absolute())
        ]
    page = out / PAGE
    write_page(page, results, "FewTune quickstart: fashion from 16 images per class", NEXT, task)
    show(console, results)
    console.line()
    console.line(f"page  {page.absolute()}")
    console.line(f"next  {NEXT}")


def jobs(task: Task, backbone: str, seed: int, runs: Path) -> list[Job]:
    """Return the shortened runs."""
    from fewtune.backbones.checkpoint import describe
    from fewtune.reports.model_card import write_card
    from fewtune.training.job import Job
    from fewtune.training.named_recipes import configure

    made = []
    for name, scale in STEPS_SCALE.items():
        options = shortened_options(name, describe(backbone).logit_scale)
        strategy, recipe = configure(name, options, SHOTS)
        made.append(
            Job.of(
                strategy, task, backbone, recipe, shots=SHOTS, seed=seed, steps_scale=scale,
                runs=runs, write_card=write_card,
            )
        )  # fmt: skip
    return made


def shortened_options(name: str, logit_scale: float | None) -> dict[str, float]:
    """Return the settings of a method that is shortened, on a model with this logit scale."""
    return {"lr": SHORT_LORA_RATE} if name == "clip-lora" else clipfit_options(logit_scale)


def clipfit_options(logit_scale: float | None) -> dict[str, float]:
    """Return CLIPFit's rate and regulariser for a model whose logit scale is not the usual 100.

    The gradient of the cross-entropy grows with the logit scale s, and what a step of SGD does to
    the logits with s^2: rate * (100 / s)^2 and lambda * s / 100 keep both as they are at 100.
    """
    from fewtune.training.named_recipes import configure

    strategy, recipe = configure("clipfit", {})
    assert recipe is not None
    share = (logit_scale or 100) / 100
    weight = strategy.model_dump()["lambda_"]
    return {"lr": round(recipe.lr / share**2, 4), "lambda_": round(weight * share, 2)}


def show(console: Console, results: list[Result]) -> None:
    """Print a row for each run, zero-shot first."""
    from fewtune.reports.summary import percent, rows, signed

    table = [
        [
            row.title + (" (best)" if row.best else ""),
            percent(row.metrics["top1"]),
            "" if row.gain is None else signed(row.gain),
            percent(row.metrics["f1"]),
            count(row.parameters) if row.steps else "",
            duration(row.seconds) if row.steps else "",
            f"x{row.steps_scale:.2g}" if row.steps else "",
        ]
        for row in rows(results[0].zero_shot, [result.record for result in results])
    ]
    console.line()
    console.table(["", "top-1", "gain", "F1", "trained", "time", "steps"], table)
    console.line(
        "In percent. steps: factor on the recipe's length, so these are not the full methods. "
        "Rates, and CLIPFit's regulariser, are set for that length and the model's logit scale."
    )
    if results[0].record["spec"]["backbone"] == EMBEDDED:
        console.line("picto is a pictogram model: this says nothing about photographs.")


command = Command("quickstart", params=list(OPTIONS), callback=run, help=__doc__)
