"""Few-shot rows of the card: the `fewtune` command on Fashion-MNIST, all 10,000 test images."""

import json
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from fewtune.backbones.checkpoint import describe
from fewtune.training.named_recipes import configure
from pretraining.picto.evaluate import FASHION_CLASSES, SEEDS, SHOTS, draw, read_fashion

STRATEGIES = ("clip-lora", "clipfit", "clip-adapter")
THROUGH_TOWERS = ("clip-lora", "clipfit")  # hours on a CPU at full length
TRAIN_IMAGES = 100  # of each class, for `fewtune` to draw shots from


# For CLIP-LoRA in a hundredth of its steps, where its own rate moves nothing: the best of three on
# validation images (experiments/pictogram-rates.toml).
SHORT_LORA_RATE = 0.01


def shortened_options(name: str, logit_scale: float | None) -> dict[str, float]:
    """Settings of a method that is shortened, on a model with this logit scale.

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


def write_folder(fashion_folder: Path, target: Path) -> None:
    """Fashion-MNIST as `train/<class>/*.png` (a part) and `test/<class>/*.png` (all 10,000)."""
    for split, source in (("train", "train"), ("test", "t10k")):
        pixels, labels = read_fashion(fashion_folder, source)
        rows = draw(labels, TRAIN_IMAGES, seed=0) if split == "train" else np.arange(len(labels))
        for name in FASHION_CLASSES:
            (target / split / name).mkdir(parents=True, exist_ok=True)
        for row in rows:
            path = target / split / FASHION_CLASSES[labels[row]] / f"{row:05d}.png"
            if not path.exists():
                Image.fromarray(pixels[row]).save(path)


def score_of(printed: str) -> float:
    """Test accuracy in percent in what `fewtune fit --json` prints."""
    return 100 * float(json.loads(printed)["record"]["metrics"]["top1"])


def _fit(
    strategy: str, shots: int, seed: int, scale: float, data: Path, model: Path, runs: Path
) -> float:
    command = ["fewtune", "fit", strategy, "--data", str(data), "--backbone", str(model)]
    if scale != 1:
        options = shortened_options(strategy, describe(str(model)).logit_scale)
        command += [f"--{name.rstrip('_')}={value}" for name, value in options.items()]
    command += ["--shots", str(shots), "--seed", str(seed), "--steps-scale", str(scale)]
    command += ["--runs", str(runs), "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{finished.stderr[-2000:]}")
    return score_of(finished.stdout)


def tune(
    fashion_folder: Path,
    model: Path,
    work: Path,
    steps_scale: float = 1.0,
    shots: tuple[int, ...] = SHOTS,
) -> dict[str, dict[str, float]]:
    """Mean test accuracy in percent by strategy and shots; complete runs are not repeated.

    `steps_scale` shortens what trains through the towers, with rates for that length as in
    `experiments/pictogram-study.toml`; the row's title says so.
    """
    data = work / "fashion"
    write_folder(fashion_folder, data)
    scores: dict[str, dict[str, float]] = {}
    for strategy in STRATEGIES:
        scale = steps_scale if strategy in THROUGH_TOWERS else 1.0
        title = strategy if scale == 1 else f"{strategy}, {scale:g} of its steps"
        scores[title] = {}
        for count in shots:
            runs = [
                _fit(strategy, count, seed, scale, data, model.resolve(), work / "runs")
                for seed in SEEDS
            ]
            scores[title][str(count)] = float(np.mean(runs))
            print(f"{title} {count} shots: {scores[title][str(count)]:.1f}", flush=True)
    return scores
