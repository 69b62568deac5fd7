"""What bf16 changes on this CPU: the table in docs/runs.md.

    python scripts/precision_table.py [RUNS]

A run of each strategy is trained in fp32 in the folder RUNS, on four of the sample images per class
and with the backbone that comes with the package, for a hundredth (CLIP-LoRA) or a twentieth of its
steps. The same run then scores the 1,000 test images in fp32 and in
bf16, and gives the gradient of one batch of its training images in both.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

import fewtune
from fewtune.core.discovery import strategy_names
from fewtune.core.draws import few_shot
from fewtune.core.task import Task
from fewtune.datasets.samples import FASHION, write_sample
from fewtune.training.device import autocast
from fewtune.training.image_loader import ImageLoader
from fewtune.training.load_run import Tuned, load_run

HEADER = (
    "| strategy | top-1, fp32 | top-1, bf16 | labels changed | probability, largest | "
    "probability, mean | gradient |\n| --- | --- | --- | --- | --- | --- | --- |"
)
SCALES = {"clip-lora": 0.01, "tip-adapter": 1.0, "zero-shot": 1.0}


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_sample(FASHION, Path(scratch) / "clothes")
        task = few_shot(fewtune.open_task(folder), shots=4, seed=0)
        runs = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "runs"
        print(HEADER)
        for name in strategy_names():
            scale = SCALES.get(name, 0.05)
            run = fewtune.fit(
                folder, name, backbone="picto", shots=4, precision="fp32", runs=runs,
                steps_scale=scale,
            ).folder  # fmt: skip
            exact, rounded = load_run(run, "cpu", "fp32"), load_run(run, "cpu", "bf16")
            print(row(name, task, exact, rounded), flush=True)


def row(name: str, task: Task, exact: Tuned, rounded: Tuned) -> str:
    """Return one strategy's line."""
    one, two = (tuned.scores(task.test) for tuned in (exact, rounded))
    labels = torch.tensor([example.label for example in task.test])
    right = [(logits.argmax(1) == labels).float().mean() for logits in (one, two)]
    top1 = [f"{100 * float(share):.1f}" for share in right]
    changed = float((one.argmax(1) != two.argmax(1)).float().mean())
    shift = (one.softmax(1) - two.softmax(1)).abs()
    wanted, found = gradient(exact, task), gradient(rounded, task)
    change = "–" if wanted is None or found is None else relative(found, wanted)
    cells = [f"`{name}`", *top1, f"{100 * changed:.1f} %", f"{shift.max():.3f}"]
    return "| " + " | ".join([*cells, f"{shift.mean():.4f}", change]) + " |"


def relative(found: Tensor, wanted: Tensor) -> str:
    """Return the norm of the difference over the norm, in percent."""
    return f"{100 * float((found - wanted).norm() / wanted.norm()):.1f} %"


def gradient(tuned: Tuned, task: Task) -> Tensor | None:
    """Return the gradient of the loss of 40 training images, in one vector; None without any."""
    head, model = tuned.head, tuned.head.model
    parameters = [parameter for _, parameter in head.trainable()]
    if not parameters:
        return None
    pixels = ImageLoader(task.train, model.preprocess).batch(range(len(task.train)), None)
    labels = torch.tensor([example.label for example in task.train])
    with autocast(model.device, tuned.precision):
        texts = None if head.classifier == "linear" else model.encode(head.prompts(tuned.classes))
        loss = head.loss(head(model.pixels(pixels), texts), labels)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat([part.flatten() for part in found if part is not None])


if __name__ == "__main__":
    main()
