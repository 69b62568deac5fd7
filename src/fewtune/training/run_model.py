"""Model of a run: the backbone with its preprocessing, and the head that a strategy attaches."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fewtune.backbones import clip
from fewtune.core.errors import ConfigError
from fewtune.core.preprocess import preprocessing
from fewtune.core.spec import Recipe, Templates
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Phase, Strategy
from fewtune.training.device import choose_device
from fewtune.training.job import Job
from fewtune.training.memory.memory_probe import keep_freed_memory
from fewtune.training.seeding import seed_step
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
        return checked(strategy.attach(model, classes)).eval()
    head: Head | None = None
    for index, phase in enumerate(strategy.phases(recipe)):
        head = attach_phase(phase, index, model, classes, head, seed)
    assert head is not None
    return head.eval()


def attach_phase(
    phase: Phase, index: int, model: DualEncoder, classes: ClassSet, head: Head | None, seed: int
) -> Head:
    """Return the head of a phase before its first step, given that of the phase before it.

    Raises:
        ConfigError: `attach` returns no head of this model, or trains what `unfreeze` did not name.
    """
    seed_step(seed, index, -1)
    return checked(phase.attach(model, classes, head))


def checked(head: Head) -> Head:
    """Return what `attach` has returned, if it is what it must be.

    Raises:
        ConfigError: It is no head, or parameters train that were not unfrozen.
    """
    if not isinstance(head, Head):
        raise ConfigError(
            f"`attach` must return a Head, found {type(head).__name__}.",
            hint="For zero-shot CLIP's: return Head(model, classes, self.classifier)",
        )
    tuned = head.model.tuned()
    parameters = head.model.net.named_parameters()
    stray = [name for name, p in parameters if p.requires_grad and name not in tuned]
    if stray:
        raise ConfigError(
            f"`attach` lets {stray[0]} train, which neither `unfreeze` nor `inject` has named, so "
            "that it would not be saved.",
            hint=f"Instead of requires_grad_: model.unfreeze({stray[0]!r})",
        )
    return head


def load_backbone(job: Job, tracker: Tracker) -> DualEncoder:
    """Return the backbone of a job on its device, as a private copy."""
    keep_freed_memory()
    device = choose_device(job.config.device)
    tracker.status(f"loading {job.config.backbone}")
    model = clip.load(job.config.backbone)
    model.net.to(device)
    set_preprocessing(model, preprocessing(job.config.preprocess, job.config.resize))
    return model
