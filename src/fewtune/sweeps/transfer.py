"""Measuring of a tuned model on images that its run was not scored on: other classes, datasets."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fewtune.core.files import write_sealed
from fewtune.core.lock import locked
from fewtune.core.task import Task
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.sweeps.transfer_scores import FILE, read_scores, unmeasured
from fewtune.training import scoring
from fewtune.training.cut import find_cuts
from fewtune.training.device import free_memory_mib
from fewtune.training.disk_cache import DiskCache, activations_dir
from fewtune.training.feature_cache import FeatureCache
from fewtune.training.image_loader import ImageLoader
from fewtune.training.job import Job
from fewtune.training.load_run import Tuned, load_run
from fewtune.training.run_model import used_classes
from fewtune.training.seen_images import DividedImages, SeenImages
from fewtune.training.tracking import Tracker


def measure(job: Job, run: Path, tasks: Sequence[Task], tracker: Tracker) -> None:
    """Measure a complete run on the test images of tasks, with their classes and prompts.

    Args:
        job: What the run was made by; names device, cache and memory.

    Raises:
        BusyError: Another process is working on the run.
        RunError, AdapterError: The run cannot be loaded.
    """
    if not unmeasured(run, tasks):
        return
    with locked(run, wait=False):
        tuned = load_run(run, job.config.device, threads=job.config.threads)
        for task in unmeasured(run, tasks):
            tracker.status(f"scoring on {task.name}")
            seen = SeenImages.read(run)
            divided = seen.divide(task.test) if seen else DividedImages(task.test, 0)
            scored = replace(task, test=divided.new)
            score: dict[str, Any] = {
                "data": task.fingerprint(),
                "images": len(scored.test),
                "top1": _top1(tuned, scored, job, tracker) if scored.test else None,
            }
            if divided.seen:
                score |= {"left_out": divided.seen, "zero_shot": _zero_shot(tuned, scored, job)}
            write_sealed(run / FILE, read_scores(run) | {task.name: score})


def _zero_shot(tuned: Tuned, task: Task, job: Job) -> float | None:
    """Return what zero-shot scores on the images that are left, which are fewer than its run's."""
    with tuned.head.model.original():
        untouched = ZeroShot().attach(tuned.head.model, tuned.classes).eval()
        return _top1(replace(tuned, head=untouched), task, job, Tracker())


def _top1(tuned: Tuned, task: Task, job: Job, tracker: Tracker) -> float | None:
    assert tuned.spec is not None
    model, classes = tuned.head.model, tuned.classes
    if not (tuned.head.class_bound or tuned.head.classifier == "linear"):
        classes = used_classes(task.classes, tuned.spec.templates)
    elif classes.names != task.classes.names:
        return None
    config = job.config
    folder = config.cache_dir or activations_dir()
    images = FeatureCache(
        model,
        ImageLoader(task.test, model.preprocess, device=model.device),
        find_cuts(tuned.head, tuned.classes).image,
        tuned.precision,
        budget_bytes=(config.memory_mib or free_memory_mib()) / 2 * 2**20,
        once=True,
        disk_cache=None if config.no_cache else DiskCache(folder, tracker.status),
    )
    scores = scoring.scores(tuned.head, classes, images, tuned.precision)
    labels = torch.tensor([example.label for example in task.test])
    return scoring.metrics(scores, labels)["top1"]
