"""Evaluation of a run on other images, next to zero-shot on the same images."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fewtune.core.errors import DataError, did_you_mean
from fewtune.core.task import Example, Task
from fewtune.data.text_files import fold_name
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.training import scoring
from fewtune.training.cut import find_cuts
from fewtune.training.device import free_memory_mib
from fewtune.training.feature_cache import FeatureCache
from fewtune.training.image_loader import ImageLoader
from fewtune.training.load_run import Tuned
from fewtune.training.run_folder import RunFolder
from fewtune.training.scoring import Metrics, metrics
from fewtune.training.seen_images import DividedImages, SeenImages


@dataclass(frozen=True)
class Evaluation:
    """What a run is worth on other images.

    Attributes:
        task: Name of the images' task.
        classes: Names of the classes it chose among.
        images: How many images were scored.
        left_out: How many were not, since the run has learned from them.
        similar: Keys of scored images that look like training images.
        metrics: As of `scoring.metrics`, by row: zero-shot first, then the run.
        notes: What must be said of the images, in sentences.
        keys: Names of the scored images.
        labels: Their classes.
        answers: The class that each is taken for, by row.
        confidence: Probability of the run's answers, in [0, 1].
    """

    task: str
    classes: tuple[str, ...]
    images: int
    left_out: int
    similar: tuple[str, ...]
    metrics: dict[str, Metrics]
    notes: tuple[str, ...]
    keys: tuple[str, ...]
    labels: tuple[int, ...]
    answers: dict[str, tuple[int, ...]]
    confidence: tuple[float, ...]


def evaluate_run(tuned: Tuned, folder: Path, task: Task, new_classes: bool = False) -> Evaluation:
    """Measure a run on the test images of a task, or on all where it has none.

    Images that the run has learned from are left out.

    Args:
        new_classes: Choose among the classes of the task, not among those of training.

    Raises:
        DataError: A class of the task is unknown to the run, or all images were learned from.
    """
    chosen, examples = match_classes(tuned, task, new_classes)
    divided = new_images(RunFolder(folder), examples)
    scored = score_rows(chosen, divided.new)
    labels = torch.tensor([example.label for example in divided.new])
    *_, run = scored.values()
    return Evaluation(
        task.name,
        chosen.classes.names,
        len(divided.new),
        divided.seen,
        divided.similar,
        {row: metrics(logits, labels) for row, logits in scored.items()},
        tuple(divided.notes()),
        tuple(example.key for example in divided.new),
        tuple(labels.tolist()),
        {row: tuple(logits.argmax(1).tolist()) for row, logits in scored.items()},
        tuple(run.softmax(1).amax(1).tolist()),
    )


def match_classes(tuned: Tuned, task: Task, new_classes: bool) -> tuple[Tuned, tuple[Example, ...]]:
    """Return the classifier and the images to measure it on, labelled with its classes.

    Args:
        new_classes: Choose among the classes of the task, not among those of training.

    Raises:
        DataError: A class of the task is unknown to the run, and new ones are not asked for, or the
            run cannot have any.
    """
    examples = task.test or (*task.train, *task.val)
    if new_classes:
        task.require_two_classes()
        classes = replace(task.classes, templates=tuned.classes.templates)
        return tuned.with_classes(classes), examples
    folded = {fold_name(name): label for label, name in enumerate(tuned.classes.names)}
    exact = {name: label for label, name in enumerate(tuned.classes.names)}
    labels = []
    for name in task.classes.names:
        label = exact.get(name, folded.get(fold_name(name)))
        if label is None:
            raise DataError(
                f"The data has class {name!r}, which the run does not know.",
                hint=f"{did_you_mean(name, tuned.classes.names)} To use the classes of the data, "
                "add --new-classes.",
            )
        labels.append(label)
    return tuned, tuple(replace(example, label=labels[example.label]) for example in examples)


def new_images(folder: RunFolder, examples: tuple[Example, ...]) -> DividedImages:
    """Return which images a run has not learned from.

    Runs of versions that stored nothing of their images are known by the names of theirs.

    Raises:
        DataError: It has learned from all of them.
    """
    seen = SeenImages.read(folder.path)
    if seen is not None:
        divided = seen.divide(examples)
    else:
        drawn = folder.drawn_keys()
        new = tuple(example for example in examples if example.key not in drawn)
        divided = DividedImages(new, len(examples) - len(new))
    if examples and not divided.new:
        raise DataError(
            f"The run has learned from all of these {len(examples):,} images: they say nothing of "
            "how it does on others.",
            hint="Give it images that it has not seen: --data DIR",
        )
    return divided


def score_rows(tuned: Tuned, examples: tuple[Example, ...]) -> dict[str, Tensor]:
    """Return {row: logits (N, C)}: zero-shot with the same prompts first, then the run."""
    head, classes, precision = tuned.head, tuned.classes, tuned.precision
    model, budget_bytes = head.model, free_memory_mib() / 2 * 2**20
    loader = ImageLoader(examples, model.preprocess, device=model.device)
    cut = find_cuts(head, classes).image
    # Both need what the frozen layers make of the images: each is read and encoded once.
    images = FeatureCache(model, loader, cut, precision, budget_bytes=budget_bytes)
    with model.original():
        untouched = ZeroShot().attach(model, classes).eval()
        rows = {"zero-shot": scoring.scores(untouched, classes, images, precision)}
    name = tuned.spec.strategy if tuned.spec else "zero-shot"
    return rows | {name: scoring.scores(head, classes, images, precision)}
