"""Memory plan of a run: micro-batches, text chunks and encoding batches that fit into a budget.

The budget is what the process may hold: resident on a CPU, allocated on a GPU. Small probes tell
what an image and a class prompt take. The sizes are the largest that fit next to what is held
already and next to the feature cache, and the cache shrinks before a run is refused. They are
stored in the plan. A step's batch stays what the recipe says: its gradient is the sum over the
micro-batches (`Head.loss` says why).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch

from fewtune.core.errors import ConfigError
from fewtune.core.spec import Plan, Precision
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.towers import PROMPT_CHUNK, Activations, Prompts
from fewtune.training.cut import training_mode
from fewtune.training.device import autocast, free_memory_mib
from fewtune.training.loop import Training
from fewtune.training.memory.memory_probe import (
    MIB,
    Need,
    measure,
    peak_mib,
    release_freed_memory,
    used_mib,
)
from fewtune.training.seeding import seed_step

SPREAD = 1.3  # resident size over the size of live tensors: the allocator leaves gaps
WORKSPACE_MIB = 64.0  # of matrix libraries and of threads that read images
FREE_SHARE = 0.9  # of free memory, where no budget is given
SCORE_BYTES = 24  # of an image and a class, until metrics and predictions are written
LATER_MIB = 80.0  # imports and evaluation, not held yet when a budget is refused
ROUND_MIB = 16

_known: WeakKeyDictionary[DualEncoder, dict[tuple[Prompts, Precision], tuple[Need, Need]]] = (
    WeakKeyDictionary()
)


def budget_mib(asked: float | None, device: torch.device) -> int:
    """Return what this process may hold, in MiB: what was asked for, else most of what is free.

    0 means that it is unknown, and nothing is planned.
    """
    if asked is not None:
        return math.ceil(asked)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] / MIB
    elif device.type == "cpu":
        free = free_memory_mib()
    else:
        return 0
    return int(used_mib(device) + FREE_SHARE * free)


def plan_encoding(
    plan: Plan, model: DualEncoder, prompts: Prompts, precision: Precision, scores: int
) -> Plan:
    """Return the plan with its encoding batch: images encoded at a time without gradient.

    Args:
        scores: Test images times classes.

    Raises:
        ConfigError: One image and a chunk of prompts do not fit.
    """
    if not plan.memory_mib:
        return plan
    image, text = _encoding_needs(model, prompts, precision)
    least = text.mib(min(PROMPT_CHUNK, len(prompts.texts)))
    room = _room(plan, model.device, max(image.mib(1), least))
    while not room.holds(scores * SCORE_BYTES / MIB) and room.cache_mib:
        room = replace(room, cache_mib=0)
    count = room.largest(image, plan.encoding_batch)
    return _settled(plan, room, image.mib(count), encoding_batch=count)


def _encoding_needs(
    model: DualEncoder, prompts: Prompts, precision: Precision
) -> tuple[Need, Need]:
    """Return what images and prompts take without gradient, measured once for each model."""
    known = _known.setdefault(model, {})
    key = (prompts, precision)
    if key not in known:
        texts, size_px = model.encode(prompts), model.preprocess.size_px

        def encode(batch: Activations) -> None:
            with torch.inference_mode(), autocast(model.device, precision):
                batch.embeddings("none")

        known[key] = (
            measure(lambda rows: encode(model.pixels(torch.zeros(rows, 3, size_px, size_px)))),
            measure(lambda rows: encode(next(texts.parts(rows)))),
        )
    return known[key]


def plan_training(plan: Plan, training: Training) -> Plan:
    """Return the plan with its micro-batch and text chunk: images and prompts taken at a time.

    The images of a batch share one pass of the class prompts, so taking fewer at a time costs
    little. Prompts in chunks are computed twice, so that comes second.

    Raises:
        ConfigError: One image (a batch, where it is not divisible) and one prompt do not fit.
    """
    if not plan.memory_mib or not training.total:
        return plan
    images, texts = _needs(training)
    size = min(training.recipe.batch_size, training.count)
    fewest = 1 if training.divisible else size
    prompts = len(training.classes.x) if training.classes else 0
    least = max(images.mib(fewest), texts.mib(min(1, prompts)))
    room = _room(plan, training.model.device, least)
    count = max(fewest, room.largest(images, size, other_mib=texts.mib(prompts)))
    if room.holds(images.mib(count) + texts.mib(prompts)):
        chunk, taken_mib = 0, images.mib(count) + texts.mib(prompts)
    else:
        count = max(fewest, room.largest(images, size))
        chunk = room.largest(texts, math.ceil(prompts / 2))
        taken_mib = max(images.mib(count), texts.mib(chunk))
    micro_batch = 0 if count >= size else count
    return _settled(plan, room, taken_mib, micro_batch=micro_batch, text_chunk=chunk)


def plan_runs(
    plan: Plan, device: torch.device, step: Callable[[int], object], run_mib: float, runs: int
) -> int:
    """Return how many runs fit into one stack: all, else half, a quarter, ..., at least 1.

    Args:
        plan: Its `cache_mib` is that of all runs together.
        step: Makes a training step of the given number of runs.
        run_mib: What each run holds besides.
        runs: How many there are.
    """
    if not plan.memory_mib:
        return runs
    need = measure(step)
    need = Need(need.fixed_mib, need.slope_mib + run_mib)
    try:
        room = _room(plan, device, need.mib(1))
    except ConfigError:
        return 1
    return room.largest(need, runs)


def probes(training: Training) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """Return functions that send a number of images, or of class prompts, forward and backward."""
    head, classes = training.head, training.classes

    def images(rows: int) -> None:
        stand_in = None
        if classes is not None and head.conditional:
            stand_in = classes  # goes in pieces with the images
        elif classes is not None:
            shape = (len(classes.x), training.model.dim)
            x = torch.ones(shape, device=classes.x.device, requires_grad=True)
            stand_in = replace(classes, x=x, at=len(classes.tower.stages()))
        output = head(training.features.batch(range(rows)), stand_in)
        head.backward(head.loss(output, training.labels[:rows]))

    def texts(rows: int) -> None:
        if classes is not None and not head.conditional:
            x = next(classes.parts(rows)).encoded().x
            if x.requires_grad:
                x.sum().backward()  # type: ignore[no-untyped-call]

    return images, texts


def _needs(training: Training) -> tuple[Need, Need]:
    """Return what images and class prompts take with gradients; training is as it was."""
    head = training.head
    images, texts = probes(training)
    training_mode(head, True)
    seed_step(training.seed, training.phase, 0)
    training.features.batch(range(1))  # fills the cache now, so that it is not counted
    with autocast(training.model.device, training.precision):
        found = measure(images), measure(texts)
    training.optimizer.zero_grad()
    training_mode(head, False)
    return found


@dataclass(frozen=True)
class _Room:
    """What the budget leaves next to what is held now.

    Attributes:
        free_mib: For tensors and for the feature cache.
        cache_mib: For the cache alone.
        spread: Resident size of tensors over their own size.
    """

    free_mib: float
    cache_mib: float
    spread: float

    def holds(self, mib: float) -> bool:
        """Whether tensors of this size fit."""
        return self.spread * mib <= self.free_mib - self.cache_mib

    def largest(self, need: Need, most: int, *, other_mib: float = 0.0) -> int:
        """Return the first of most, most / 2, most / 4, ... that fits, or 1 (0 of nothing)."""
        while most > 1 and not self.holds(need.mib(most) + other_mib):
            most = math.ceil(most / 2)
        return most


def _room(plan: Plan, device: torch.device, least_mib: float) -> _Room:
    """Return the room for a computation that takes `least_mib` at least."""
    release_freed_memory()
    on_gpu = device.type == "cuda"
    spread = 1.0 if on_gpu else SPREAD
    held_mib = used_mib(device) + (0.0 if on_gpu else WORKSPACE_MIB)
    wanted_mib = max(peak_mib(device), held_mib + spread * least_mib)
    if wanted_mib > plan.memory_mib:
        smallest = math.ceil((wanted_mib + LATER_MIB) / ROUND_MIB) * ROUND_MIB
        raise ConfigError(
            f"This run does not fit into {plan.memory_mib:,} MiB of memory.",
            hint=f"The least that works here is --memory {smallest}MiB.",
        )
    free_mib = plan.memory_mib - held_mib
    return _Room(free_mib, min(plan.cache_mib, free_mib - spread * least_mib), spread)


def _settled(plan: Plan, room: _Room, taken_mib: float, **sizes: int) -> Plan:
    """Return the plan with these sizes; what they leave is the most that the cache may take."""
    left_mib = int(room.free_mib - room.spread * taken_mib)
    return plan.model_copy(update={**sizes, "cache_mib": max(0, min(plan.cache_mib, left_mib))})
