"""Model of a run: the backbone with its preprocessing, and the head that a strategy attaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fewtune.backbones import clip
from fewtune.core.preprocess import preprocessing
from fewtune.core.spec import Recipe, Templates
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.training.device import choose_device
from fewtune.training.job import Job
from fewtune.training.loop import seed_step
from fewtune.training.memory.memory_probe import keep_freed_memory
from fewtune.training.tracking import Tracker


def set_preprocessing(model: DualEncoder, asked: Mapping[str, Any]) -> None:
    """Override the checkpoint's preprocessing.

    Args:
        asked: "resize", "interpolation", "mean" and "std" by name, as a spec has them; what is
            missing or None stays as the checkpoint says.
    """
    names = {"resize": "policy", "interpolation": "interpolation", "mean": "mean", "std": "std"}
    changes = {field: asked[name] for name, field in names.items() if asked.get(name) is not None}
    model.preprocess = replace(model.preprocess, **changes)


def used_classes(classes: ClassSet, templates: Templates) -> ClassSet:
    """Return the classes with the prompt templates that a run uses."""
    return classes if templates == "all" else replace(classes, templates=classes.templates[:1])


def attach(
    strategy: Strategy, model: DualEncoder, classes: ClassSet, recipe: Recipe | None, seed: int
) -> Head:
    """Replay all phases' `attach` without training: the head that a saved run fits into."""
    if recipe is None:
        return strategy.attach(model, classes).eval()
    head: Head | None = None
    for index, phase in enumerate(strategy.phases(recipe)):
        seed_step(seed, index, -1)
        head = phase.attach(model, classes, head)
    assert head is not None
    return head.eval()


def load_backbone(job: Job, tracker: Tracker) -> DualEncoder:
    """Return the backbone of a job on its device, as a private copy."""
    keep_freed_memory()
    device = choose_device(job.config.device)
    tracker.status(f"loading {job.config.backbone}")
    model = clip.load(job.config.backbone)
    model.net.to(device)
    set_preprocessing(model, preprocessing(job.config.preprocess, job.config.resize))
    return model
