"""Evaluation of a run on other images, next to zero-shot on the same images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from fewtune.core.errors import DataError, did_you_mean
from fewtune.core.task import Example, Task
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.training.load_run import Tuned
from fewtune.training.scoring import metrics


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
        classes = replace(task.classes, templates=tuned.classes.templates)
        return tuned.with_classes(classes), examples
    folded = {_fold(name): label for label, name in enumerate(tuned.classes.names)}
    exact = {name: label for label, name in enumerate(tuned.classes.names)}
    labels = []
    for name in task.classes.names:
        label = exact.get(name, folded.get(_fold(name)))
        if label is None:
            raise DataError(
                f"The data has class {name!r}, which the run does not know.",
                hint=f"{did_you_mean(name, tuned.classes.names)} To use the classes of the data, "
                "add --new-classes.",
            )
        labels.append(label)
    return tuned, tuple(replace(example, label=labels[example.label]) for example in examples)


def measure(tuned: Tuned, examples: tuple[Example, ...]) -> dict[str, dict[str, float]]:
    """Return {row: metrics}: zero-shot with the same prompts first, then the run.

    Metrics are shares in [0, 1], by name ("top1").
    """
    labels = torch.tensor([example.label for example in examples])
    rows: dict[str, dict[str, float]] = {}
    with tuned.head.model.original():
        untouched: Any = ZeroShot().attach(tuned.head.model, tuned.classes).eval()
        rows["zero-shot"] = metrics(replace(tuned, head=untouched).scores(examples), labels)
    name = tuned.spec.strategy if tuned.spec else "zero-shot"
    rows[name] = metrics(tuned.scores(examples), labels)
    return rows


def _fold(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ").strip()
