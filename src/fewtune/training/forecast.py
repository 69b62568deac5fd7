"""Forecast of a whole run before it begins: how long it takes on this machine, by short probes.

Some images and class prompts are sent through the model, forward and backward, and what they take
is multiplied: within a factor of two on a machine that does nothing else.
"""

import os
import shlex
import time
from collections.abc import Callable

import torch

from fewtune.core.defaults import DEFAULT_BACKBONE
from fewtune.core.spec import Plan, Recipe
from fewtune.data import test_guard
from fewtune.strategies.linear_probe import LinearProbe
from fewtune.training.device import autocast, choose_attention
from fewtune.training.feature_cache import FeatureCache
from fewtune.training.image_loader import ImageLoader
from fewtune.training.job import Job
from fewtune.training.memory.memory_plan import probes
from fewtune.training.run import Execution
from fewtune.training.run_model import load_backbone
from fewtune.training.tracking import Forecast, Tracker

IMAGES, PROMPTS = 4, 32  # of a probe
FEATURE_STEP_S = 0.003  # a step on finished features
SHOTS, BUDGET_S = 16, 600


def forecast(job: Job) -> Forecast:
    """Return how long a job takes here, and what takes less; the job itself is not touched."""
    load = _load()
    model = load_backbone(job, Tracker())
    asked = Execution(job, model, Tracker())
    fresh = not Execution(job.baseline(), model, Tracker()).folder.complete()
    recipe, tests = job.resolved_recipe(), len(asked.task.test)
    with asked.guarded():
        test_guard.enter("estimating")
        image_s = _image_s(asked)
        trained_s, kept = _training_s(asked, recipe, image_s) if recipe else (0.0, 1.0)
    # Zero-shot leaves the frozen part of the test images in the cache.
    test_s = image_s * tests * (fresh + (1 - kept if recipe else 0.0))
    seconds = test_s + trained_s
    few = min(SHOTS * len(asked.support.classes), len(job.task.train))
    probe_s = image_s * (few * LinearProbe.recipe.views + tests)
    instead = [("fit zero-shot", image_s * tests), (f"fit linear-probe --shots {SHOTS}", probe_s)]
    if recipe:
        budget = f"fit {job.strategy.name()} --time-budget {BUDGET_S // 60}m"
        instead.append((budget, BUDGET_S + test_s))
    options = f" --data {shlex.quote(job.config.data or 'DIR')}" + _backbone(job)
    shorter = [(f"fewtune {words}{options}", s) for words, s in instead if s < seconds / 2]
    return Forecast(seconds, image_s, str(model.device), asked.precision, load, tuple(shorter))


def _backbone(job: Job) -> str:
    name = job.config.backbone
    return "" if name == DEFAULT_BACKBONE else f" --backbone {shlex.quote(name)}"


def _load() -> float:
    """Return how busy each core is with other work; 0 where nobody knows."""
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return busy / (os.cpu_count() or 1)


def _image_s(asked: Execution) -> float:
    """Return the seconds in which an image is read and encoded."""
    model = asked.model
    loader = ImageLoader(asked.support.train[:IMAGES], model.preprocess, device=model.device)

    def encode() -> int:
        with torch.inference_mode(), autocast(model.device, asked.precision):
            return sum(len(batch.encoded().x) for batch in FeatureCache(model, loader).batches())

    return min(_timed(encode) for _ in range(2)) / max(1, len(asked.support.train[:IMAGES]))


def _training_s(asked: Execution, recipe: Recipe, image_s: float) -> tuple[float, float]:
    """Return the seconds of all phases, and the share of the image tower that is frozen."""
    model, device = asked.model, asked.model.device
    plan = Plan(
        device=str(device),
        threads=torch.get_num_threads(),
        steps_scale=asked.job.config.steps_scale,
        attention=choose_attention(device, asked.precision),
    )
    head = asked.attached(asked.job.strategy.phases(recipe)[0], 0, None)
    # Views that are encoded once would all be encoded now.
    training = asked.training(head, recipe.model_copy(update={"views": 0}), plan, 0)
    steps, end = asked.steps(plan), len(model.image.stages())
    kept = training.cuts.image / end
    once_s = image_s * len(asked.support.train) * recipe.views * kept
    if recipe.views and training.cuts.image == end:
        return once_s + steps * FEATURE_STEP_S, kept
    images, texts = probes(training)
    size = min(recipe.batch_size, training.count)
    prompts = 0 if training.classes is None else len(training.classes.x)
    step_s = _each(images, min(IMAGES, size)) * size + _each(texts, min(PROMPTS, prompts)) * prompts
    return once_s + steps * step_s, kept


def _each(work: Callable[[int], object], rows: int) -> float:
    """Return the seconds that each row takes."""
    work(min(1, rows))  # the first time is slower
    return _timed(lambda: work(rows)) / max(1, rows)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
