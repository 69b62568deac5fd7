"""What photo can do on photographs it never saw: zero-shot and linear probes.

Images of these tasks are read here and by the sample of the quickstart only. Nothing is chosen by
these scores.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from fewtune.backbones import clip
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.towers import Prompts
from pretraining.photo.maps import cache, read_maps
from pretraining.photo.pool import View
from pretraining.photo.sources import photos_of
from pretraining.photo.targets import Targets, read_targets, to_maps
from pretraining.photo.train import Distillation

TEMPLATE = "a photo of a {}."
SHOTS, SEEDS = (1, 4, 16), (1, 2, 3)
PENALTY = 30.0  # C of the logistic regression on unit features
# Folders of the clothing set and the names that prompts use. "coat" stands for "outwear", which in
# sentences is any garment: chosen on photos of the pool.
CLOTHING = {
    "dress": "dress",
    "hat": "hat",
    "longsleeve": "long-sleeved shirt",
    "outwear": "coat",
    "pants": "pants",
    "shirt": "shirt",
    "shoes": "shoes",
    "shorts": "shorts",
    "skirt": "skirt",
    "t-shirt": "t-shirt",
}
CIFAR_STEP = 5  # every fifth test image, 2,000 in all
CIFAR_TRAIN = 100  # images of each class that shots are drawn from
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PhotoTask:
    """Class names, and files with their labels: training images first, then `test` others."""

    name: str
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    test: int


def tasks(photos: Path) -> list[PhotoTask]:
    """Return Caltech101 by CoOp's split, clothing-small and CIFAR-10."""
    return [_caltech(photos), _clothing(photos / "clothing-small"), _cifar(photos / "cifar-10")]


def _caltech(photos: Path) -> PhotoTask:
    path = photos / "caltech101-split" / "split_zhou_Caltech101.json"
    split = json.loads(path.read_text(encoding="utf-8"))
    rows = [*split["train"], *split["test"]]
    names = dict(sorted((label, name) for _, label, name in rows))
    folder = photos / "caltech101" / "101_ObjectCategories"
    return PhotoTask(
        "Caltech101",
        tuple(names.values()),
        tuple(folder / file for file, _, _ in rows),
        tuple(label for _, label, _ in rows),
        len(split["test"]),
    )


def _clothing(folder: Path) -> PhotoTask:
    return _folders("clothing", CLOTHING, folder / "train", folder / "test", (0, 1))


def _cifar(folder: Path) -> PhotoTask:
    names = {path.name: path.name for path in sorted((folder / "test").iterdir())}
    return _folders("CIFAR-10", names, folder / "train", folder / "test", (CIFAR_TRAIN, CIFAR_STEP))


def _folders(
    name: str, classes: dict[str, str], train: Path, test: Path, take: tuple[int, int]
) -> PhotoTask:
    """Read class folders: the first `take[0]` training images, every `take[1]`-th test image."""
    rows = []
    for label, folder in enumerate(classes):
        rows += [(0, path, label) for path in sorted((train / folder).iterdir())[: take[0] or None]]
        rows += [(1, path, label) for path in sorted((test / folder).iterdir())[:: take[1]]]
    rows.sort(key=lambda row: row[0])
    _, paths, labels = zip(*rows, strict=True)
    return PhotoTask(name, tuple(classes.values()), paths, labels, sum(row[0] for row in rows))


@torch.no_grad()
def image_features(student: Distillation, maps: NDArray[np.float16]) -> Floats:
    """Return unit embeddings (N, D) of cached stem maps (N, 49, 320)."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [
            student.embed(student.teach(to_maps(maps[start : start + 256]))[0])
            for start in range(0, len(maps), 256)
        ]
    return torch.cat(parts).numpy()


@torch.no_grad()
def target_features(student: Distillation, targets: Targets, maps: NDArray[np.float16]) -> Floats:
    """Return what the teacher makes of the same maps: unit targets (N, D)."""
    parts = [
        targets.embed(student.teach(to_maps(maps[start : start + 256]))[1])
        for start in range(0, len(maps), 256)
    ]
    return torch.cat(parts).numpy()


@torch.no_grad()
def text_features(model: DualEncoder, classes: Sequence[str]) -> Floats:
    """Return unit embeddings (C, D) of one prompt per class."""
    texts = tuple(TEMPLATE.format(name) for name in classes)
    prompts = Prompts(texts, tuple(range(len(texts))), tuple(classes))
    encoded = model.encode(prompts).embeddings()
    return torch.nn.functional.normalize(encoded, dim=1).numpy()


def zero_shot(images: Floats, texts: Floats, labels: NDArray[np.int64]) -> float:
    """Return top-1 in percent."""
    return 100 * float(((images @ texts.T).argmax(1) == labels).mean())


def probe(train: Floats, train_labels: NDArray[np.int64], test: Floats) -> NDArray[np.int64]:
    """Return the labels that logistic regression gives to `test`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        model = LogisticRegression(C=PENALTY, max_iter=300).fit(train, train_labels)
    found: NDArray[np.int64] = model.predict(test)
    return found


def draw(labels: NDArray[np.int64], shots: int, seed: int) -> NDArray[np.int64]:
    """Return rows of `shots` images per class, or of all where there are fewer."""
    generator = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.concatenate([generator.permutation(rows)[:shots] for rows in classes])


def few_shot(features: Floats, labels: NDArray[np.int64], test: int) -> dict[str, float]:
    """Return the linear probe's mean top-1 over seeds, in percent by shots."""
    train, train_labels = features[:-test], labels[:-test]
    scores = {}
    for shots in SHOTS:
        runs = []
        for seed in SEEDS:
            rows = draw(train_labels, shots, seed)
            found = probe(train[rows], train_labels[rows], features[-test:])
            runs.append(100 * float((found == labels[-test:]).mean()))
        scores[f"{shots}_shot"] = float(np.mean(runs))
    return scores


Results = dict[str, dict[str, dict[str, float]]]


def evaluate(folder: Path, work: Path) -> Results:
    """Return scores in percent: by task, by "photo" or "teacher", by measure."""
    model = clip.load(str(folder.absolute()))
    net: Any = model.net
    stem = net.vision_model.embeddings.patch_embedding.stem
    targets = read_targets(work / "targets.safetensors")
    listed = tasks(photos_of(work))
    for task in listed:
        views = [View(task.name, path, 0) for path in task.paths]
        cache(stem, views, work / "evaluation" / task.name)
    student = Distillation(net, stem.last, targets).eval()
    results: Results = {}
    for task in listed:
        maps = read_maps(work / "evaluation" / task.name)
        labels = np.array(task.labels)
        features = image_features(student, maps)
        texts = text_features(model, task.classes)
        scores = {"zero_shot": zero_shot(features[-task.test :], texts, labels[-task.test :])}
        taught = target_features(student, targets, maps)
        results[task.name] = {
            "photo": scores | few_shot(features, labels, task.test),
            "teacher": few_shot(taught, labels, task.test),
            "chance": {"zero_shot": 100 / len(task.classes)},
            "images": {"test": float(task.test)},
        }
        print(task.name, json.dumps(results[task.name]), flush=True)
    return results
