"""Where is the shape? Regenerated dSprites, location in 16 classes, 1,000 training images.

    python examples/dsprites.py
    python examples/dsprites.py --test 0 --steps 3000    # the whole test split, longer

Nothing is downloaded: images are drawn from their factors. Learning rates are chosen on VTAB's
800 + 200 images. Then each method is trained on all 1,000 with its best rate and tested once. There
is no augmentation, because a crop or a mirror image changes the label. Prints a Markdown table.
Runs are ordinary run folders, so complete ones are not computed again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fewtune.backbones.checkpoint import describe
from fewtune.core.task import Task, draw_order
from fewtune.datasets.catalog import resolve
from fewtune.datasets.declaration import Subset
from fewtune.training.job import Job
from fewtune.training.named_recipes import configure
from fewtune.training.run import run
from fewtune.training.tracking import Tracker

NAME = "vtab/dsprites-location"
CHANCE = 1 / 16
# As on VTAB, a linear head is trained next to what the method trains.
METHODS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "linear-probe": ({}, (1e-3, 1e-2, 1e-1)),
    "vpt-deep": ({"type": "vision"}, (3e-3, 1e-2)),
    "clip-lora": ({"type": "vision"}, (1e-3, 5e-3)),
}
PLAIN = {"crop_scale": None, "flip": False, "views": 1, "batch_size": 16}


def load(subset: Subset) -> Task:
    """Return the task, drawn from its factors even if files of it are on this machine."""
    return resolve(NAME, subset=subset, layout="regenerated dSprites")


def shortened(task: Task, images: int) -> Task:
    """Return the task with `images` test images, chosen by a hash of their keys; 0 for all."""
    chosen = draw_order(task.test, 0, "examples/dsprites")
    return replace(task, test=tuple(chosen[:images])) if images else task


def train(name: str, task: Task, lr: float, steps: int, arguments: argparse.Namespace) -> Any:
    """Return the record of a run."""
    options, _ = METHODS[name]
    recipe = {**PLAIN, "lr": lr, "length": steps, "length_unit": "steps"}
    strategy, resolved = configure(name, options | recipe)
    job = Job.of(
        strategy,
        task,
        arguments.backbone,
        resolved,
        seed=arguments.seed,
        threads=arguments.threads,
        runs=arguments.runs,
    )
    return run(job, Tracker())


def main() -> None:
    """Choose rates, run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="picto")
    parser.add_argument("--steps", type=int, default=1000, help="length of a final run")
    parser.add_argument("--search-steps", type=int, default=250, help="length of a search run")
    parser.add_argument("--test", type=int, default=4000, help="test images; 0: all 73,728")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=Path, default=Path("dsprites-runs"))
    arguments = parser.parse_args()

    parts = load("800")
    search = replace(parts, name="dsprites-search", test=parts.val, val=())
    whole = shortened(load("1000"), arguments.test)
    lines = []
    for name, (_, rates) in METHODS.items():
        found = {}
        for lr in rates:
            result = train(name, search, lr, arguments.search_steps, arguments)
            found[lr] = result.record["metrics"]["top1"]
            print(f"{name}, rate {lr:g}: {100 * found[lr]:.1f} % of validation images", flush=True)
        best = max(found, key=lambda lr: found[lr])
        result = train(name, whole, best, arguments.steps, arguments)
        lines.append(row(name, best, found[best], result.record))
    print(f"\n{len(whole.test):,} of 73,728 test images; chance is {100 * CHANCE:.2f} %.\n")
    print("| method | rate | 200 validation images | test | trained parameters | training |")
    print("|---|---|---|---|---|---|")
    print("\n".join(lines))
    about = describe(arguments.backbone)
    versions = ", ".join(f"{name} {version(name)}" for name in ("fewtune", "torch", "transformers"))
    print(f"\n{arguments.backbone} ({about.revision}), seed {arguments.seed}, {versions}.")


def row(name: str, lr: float, validation: float, record: dict[str, Any]) -> str:
    """Return a line of the table."""
    cost = record["cost"]
    cells = [
        f"`{name}`",
        f"{lr:g}",
        f"{100 * validation:.1f}",
        f"{100 * record['metrics']['top1']:.2f}",
        f"{cost['trained_parameters']:,}",
        f"{cost['training_s']:.0f} s",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
