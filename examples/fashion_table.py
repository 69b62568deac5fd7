"""Every strategy on official Fashion-MNIST, 16 shots, three seeds, beside simple baselines.

    python examples/fashion_mnist.py fashion-mnist
    python examples/fashion_table.py fashion-mnist

Prints the Markdown table of the README and writes DIR-runs/table.md. Runs are ordinary run folders
below DIR-runs: complete ones are not computed again, an interrupted script continues.

Strategies that train through the towers are shortened (`SCALES`); the table names the factor.
CLIPFit stands there twice: with its authors' rate and regulariser, which are made for a logit scale
of 100, and with both set for picto's (rate * (100 / s)^2 and lambda * s / 100 keep the size of a
step on the logits and the balance of the loss).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression

from fewtune.backbones.checkpoint import describe
from fewtune.cli.quickstart import clipfit_options
from fewtune.core.discovery import strategy_names
from fewtune.core.task import Example, Task, few_shot
from fewtune.data.layouts import open_task
from fewtune.engine.job import Job
from fewtune.engine.recipes import configure
from fewtune.engine.run import run
from fewtune.engine.tracking import Tracker

SHOTS = 16
SEEDS = (1, 2, 3)
SCALES = {"clip-lora": 0.05, "clipfit": 0.4, "vpt-shallow": 0.4, "vpt-deep": 0.4}


def pixels(examples: tuple[Example, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return raw grey pixels (N, 784) in [0, 1] and labels (N,)."""
    images = [np.asarray(Image.open(e.source).convert("L")).ravel() for e in examples]
    return np.stack(images) / 255, np.array([e.label for e in examples])


def raw_pixels(task: Task, seed: int) -> float:
    """Return the test accuracy of logistic regression on raw pixels of the same draw."""
    train, labels = pixels(few_shot(task, SHOTS, seed).train)
    test, truth = pixels(task.test)
    return float(LogisticRegression(max_iter=2000).fit(train, labels).score(test, truth))


def row(name: str, scores: list[float], parameters: str, note: str = "") -> str:
    """Return a table line: mean and sample deviation over seeds, in percent."""
    spread = f" ± {100 * stdev(scores):.1f}" if len(scores) > 1 else ""
    return f"| {name} | {100 * mean(scores):.1f}{spread} | {parameters} | {note} |\n"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what fashion_mnist.py wrote")
    parser.add_argument("--backbone", default="picto")
    arguments = parser.parse_args()
    runs = arguments.folder.with_name(f"{arguments.folder.name}-runs")
    task = open_task(arguments.folder, name="fashion-mnist")

    lines = "| strategy | top-1 | trained parameters | recipe |\n| --- | --- | --- | --- |\n"
    lines += row("chance", [1 / len(task.classes)], "0")
    lines += row("logistic regression on raw pixels", [raw_pixels(task, s) for s in SEEDS], "7,850")
    trained = [(name, {}) for name in strategy_names() if name != "zero-shot"]
    for name, options in [
        ("zero-shot", {}),
        *trained,
        ("clipfit", clipfit_options(describe(arguments.backbone).logit_scale)),
    ]:
        scale = SCALES.get(name, 1.0)
        strategy, recipe = configure(name, options)
        records = []
        for seed in (0,) if recipe is None else SEEDS:
            job = Job(
                strategy,
                task,
                arguments.backbone,
                recipe,
                shots=SHOTS,
                seed=seed,
                steps_scale=scale,
                runs=runs,
            )
            records.append(run(job, Tracker()).record)
            print(name, seed, records[-1]["metrics"]["top1"], flush=True)
        note = type(strategy).source if recipe else ""
        note += f", {scale:g} of its steps" if scale != 1 else ""
        note += "".join(f", {key.rstrip('_')} {value:g}" for key, value in options.items())
        scores = [record["metrics"]["top1"] for record in records]
        parameters = f"{records[0]['cost']['trained_parameters']:,}"
        lines += row(f"`{name}`", scores, parameters, note)
    (runs / "table.md").write_text(lines, encoding="utf-8")
    print(lines)


if __name__ == "__main__":
    main()
