"""Choose learning rates by validation on training images, on three unlike tasks.

    python examples/fashion_mnist.py fashion-mnist
    python -m experiments.default_rates fashion-mnist results

Linear probe, CLIP-Adapter and VPT have no single published recipe for few shots on CLIP. Each rate
of a small grid is trained on 16 images per class and scored on other *training* images of the task:
clothes (Fashion-MNIST, its official test images are not opened), where a shape is (9 places), how
many there are (1 to 5). The rate with the best mean accuracy over tasks wins; ties go to the
smaller one. Writes results/table.md; complete runs are not repeated, so strategies may be searched
in parallel (`--only`) before the table is made.
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from fewtune.backbones.model_names import ASSETS, PICTO
from fewtune.core.task import ClassSet, Example, Task, draw
from fewtune.data.layouts import open_task
from fewtune.model.load_strategy import load_strategy
from fewtune.training.job import Job
from fewtune.training.run import run
from fewtune.training.tracking import Tracker

SHOTS = 16
HELD_PER_CLASS = 40
GRID = {
    "linear-probe": (1e-3, 3e-3, 1e-2, 3e-2),
    "clip-adapter": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "vpt-shallow": (3e-3, 1e-2),
    "vpt-deep": (1e-3, 3e-3, 1e-2),
}
# Prompts train through the whole tower: their search runs over a part of the steps.
STEPS_SCALE = {"vpt-shallow": 0.4, "vpt-deep": 0.4}


@dataclass(frozen=True)
class Drawing:
    """A generated picture: shapes of 64 x 64 pixels at given centres."""

    centres: tuple[tuple[int, int], ...]
    seed: int

    def read(self) -> Image.Image:
        """Draw it, dark on white, each shape of a random size and kind."""
        rng = random.Random(self.seed)
        image = Image.new("RGB", (64, 64), "white")
        canvas = ImageDraw.Draw(image)
        for x, y in self.centres:
            radius = rng.randint(4, 6)
            box = (x - radius, y - radius, x + radius, y + radius)
            shape = rng.choice((canvas.ellipse, canvas.rectangle))
            shape(box, fill=tuple(rng.randint(0, 120) for _ in range(3)))
        return image


def grid_places(rng: random.Random, count: int, sides: int) -> tuple[tuple[int, int], ...]:
    """Return centres in different cells of a grid of `sides` x `sides`, jittered."""
    cell = 64 // sides
    chosen = rng.sample(range(sides * sides), count)
    middle = cell // 2
    return tuple(
        (c % sides * cell + middle + rng.randint(-2, 2), c // sides * cell + middle) for c in chosen
    )


def drawn(name: str, classes: tuple[str, ...], template: str) -> Task:
    """Return a task of generated pictures: "place" or "count"."""

    def example(split: str, label: int, index: int) -> Example:
        key = f"{split}/{label}/{index}"
        rng = random.Random(f"{name}/{key}")
        if name == "count":
            centres = grid_places(rng, label + 1, 4)
        else:
            x, y = label % 3, label // 3
            centres = ((10 + 21 * x + rng.randint(-4, 4), 10 + 21 * y + rng.randint(-4, 4)),)
        return Example(key, label, Drawing(centres, rng.randrange(2**31)))

    def examples(split: str, count: int) -> tuple[Example, ...]:
        return tuple(example(split, c, i) for c in range(len(classes)) for i in range(count))

    class_set = ClassSet(classes, (template,))
    return Task(name, class_set, examples("train", SHOTS), (), examples("held", HELD_PER_CLASS))


def tasks(fashion: Path) -> list[Task]:
    """Return the three tasks; what they call test images are training images held out."""
    whole = open_task(fashion, name="clothes")
    held = draw(whole.train, HELD_PER_CLASS, 0, "held")
    keys = {example.key for example in held}
    rest = tuple(e for e in whole.train if e.key not in keys)
    clothes = replace(whole, train=draw(rest, SHOTS, 0, "train"), val=(), test=held)
    sides = [f"{v} {h}" for v in ("top", "middle", "bottom") for h in ("left", "centre", "right")]
    return [
        clothes,
        drawn("place", tuple(sides), "a shape at the {}"),
        drawn("count", ("one", "two", "three", "four", "five"), "{} shapes"),
    ]


def at_released_scale(folder: Path) -> Path:
    """Return a copy of picto with the logit scale 100."""
    if not folder.exists():
        part = folder.with_name("part")
        shutil.copytree(ASSETS / PICTO, part, dirs_exist_ok=True)
        tensors = load_file(part / "model.safetensors")
        tensors["logit_scale"] = torch.full_like(tensors["logit_scale"], math.log(100))
        save_file(tensors, part / "model.safetensors", {"format": "pt"})
        part.replace(folder)
    return folder


def main() -> None:
    """Run the grid and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("fashion", type=Path, help="what examples/fashion_mnist.py wrote")
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=list(GRID), help="strategies to search")
    arguments = parser.parse_args()
    three = tasks(arguments.fashion)
    backbone = str(at_released_scale(arguments.out / "picto-100"))
    lines = f"| strategy | rate | {' | '.join(t.name for t in three)} | mean |\n"
    lines += "| --- | --- | --- | --- | --- | --- |\n"
    for name in arguments.only:
        rates = GRID[name]
        kind = load_strategy(name)
        assert kind.recipe is not None
        for rate in rates:
            recipe = kind.recipe.model_copy(update={"lr": rate})
            scores = []
            for task in three:
                job = Job.of(
                    kind(),
                    task,
                    backbone,
                    recipe,
                    steps_scale=STEPS_SCALE.get(name, 1.0),
                    runs=arguments.out / "runs",
                )
                scores.append(run(job, Tracker()).record["metrics"]["top1"])
            cells = " | ".join(f"{100 * s:.1f}" for s in (*scores, mean(scores)))
            lines += f"| {name} | {rate:g} | {cells} |\n"
            print(lines.splitlines()[-1], flush=True)
    (arguments.out / "table.md").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
