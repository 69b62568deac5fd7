"""The training loop: one, short, in plain sight.

Everything random in a step is a function of (seed, step): the batch, the views and, by reseeding,
dropout. So the trained tensors, the optimizer's state and the step number are all there is to
resume from.
"""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fewtune.core.errors import ConfigError, RunError
from fewtune.core.head import Head
from fewtune.core.model import PROMPT_CHUNK, DualEncoder, Partial, Prompts
from fewtune.core.spec import Plan, Precision, Recipe
from fewtune.core.task import ClassSet, Support
from fewtune.engine.cache import Store
from fewtune.engine.checkpoint import Checkpoints
from fewtune.engine.device import autocast, peak_memory_mib
from fewtune.engine.images import Pixels
from fewtune.engine.inputs import Inputs
from fewtune.engine.interrupt import interrupt_later
from fewtune.engine.tracking import Estimate, Step, Tracker


@dataclass(frozen=True)
class Cuts:
    """How many leading stages of each tower are frozen; None where a tower is not used."""

    image: int
    text: int | None


def find_cuts(model: DualEncoder, head: Head, classes: ClassSet) -> Cuts:
    """Derive the cuts by sending one image and one prompt through, gradients on.

    Below a cut everything may be computed once, unless two probes in training mode differ there
    (random code in a hook): then the cut is 0.
    """
    size = model.preprocess.size_px
    image = _cut(head, model.pixels(torch.zeros(1, 3, size, size)))
    if head.classifier == "linear":
        return Cuts(image, None)
    prompts = head.prompts(classes)
    one = Prompts(prompts.texts[:1], prompts.owner[:1], prompts.classes)
    return Cuts(image, _cut(head, model.encode(one)))


def _cut(head: Head, batch: Partial) -> int:
    training_mode(head, True)
    cut = batch.tower.frozen_prefix(batch.x, batch.rows)
    with torch.no_grad():
        first, second = batch.advance(cut).x, batch.advance(cut).x
    training_mode(head, False)
    return cut if torch.equal(first, second) else 0


def training_mode(head: Head, mode: bool) -> None:
    """Switch the dropout of a head and of what its strategy injected."""
    head.model.training(mode)
    head.train(mode)


def seed_step(seed: int, phase: int, step: int) -> None:
    """Reseed torch for one step of one phase."""
    torch.manual_seed(_stream(seed, phase, step))


def _stream(*names: object) -> int:
    """Return a seed below 2^63 that belongs to these names alone."""
    text = "\0".join(map(str, names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


@functools.lru_cache(maxsize=64)
def epoch_order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    """Return the order in which an epoch visits the training images."""
    generator = torch.Generator().manual_seed(_stream(seed, "order", epoch))
    return tuple(torch.randperm(count, generator=generator).tolist())


class Training:
    """One phase, ready to run: inputs, optimizer and the means to make a step."""

    def __init__(
        self,
        head: Head,
        support: Support,
        recipe: Recipe,
        plan: Plan,
        precision: Precision,
        seed: int,
        phase: int,
        store: Store | None = None,
    ) -> None:
        self.head = head
        self.model = head.model
        self.recipe = recipe
        self.seed = seed
        self.phase = phase
        self.scale = plan.steps_scale
        self.text_chunk = plan.text_chunk
        self.precision: Precision = precision
        self.labels = torch.tensor([e.label for e in support.train], device=self.model.device)
        self.count = len(support.train)
        self.per_epoch = recipe.steps_per_epoch(self.count)
        self.total = recipe.total_steps(self.count, support.shots, self.scale)
        self.parameters = dict(head.trainable())
        if not any(parameter.numel() for parameter in self.parameters.values()):
            raise ConfigError(
                "With these options there is nothing to train.",
                hint="Leave out the options that switch off what the strategy trains.",
            )
        self.optimizer = make_optimizer(recipe, head.groups(self.parameters))
        cuts = find_cuts(self.model, head, support.classes)
        self.cuts = cuts if plan.cache else Cuts(0, cuts.text and 0)
        self.inputs = Inputs(
            self.model,
            Pixels(support.train, self.model.preprocess, recipe, seed, device=self.model.device),
            self.cuts.image,
            precision,
            views=recipe.views,
            budget_bytes=plan.cache * plan.cache_mib * 2**20,
            store=store if plan.cache else None,
        )
        self.of = support.classes

    @functools.cached_property
    def classes(self) -> Partial | None:
        """The class prompts as they enter the text tower at its cut; None without a text side."""
        if self.cuts.text is None:
            return None
        with torch.no_grad(), autocast(self.model.device, self.precision):
            prompts = replace(self.model.encode(self.head.prompts(self.of)), chunk=PROMPT_CHUNK)
            return replace(prompts.advance(self.cuts.text), chunk=self.text_chunk)

    def batch(self, step: int) -> tuple[list[int], int]:
        """Return the images of a step, and its epoch."""
        epoch, index = divmod(step, self.per_epoch)
        order = epoch_order(self.seed, epoch, self.count)
        size = self.recipe.batch_size
        return list(order[index * size : (index + 1) * size]), epoch

    def forward(self, step: int) -> Tensor:
        """Return the loss of a step's batch, with dropout on."""
        batch, epoch = self.batch(step)
        training_mode(self.head, True)
        seed_step(self.seed, self.phase, step)
        with autocast(self.model.device, self.precision):
            output = self.head(self.inputs.batch(batch, epoch), self.classes)
            return self.head.loss(output, self.labels[batch])

    def step(self, step: int) -> tuple[float, float]:
        """Make one optimizer step and return (loss, learning rate).

        Raises:
            RunError: The loss is not finite; nothing was changed by this step.
        """
        rate = self.recipe.rate(step, self.total, self.per_epoch, self.scale)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("rate", 1.0)
        loss = self.forward(step)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RunError(
                f"The loss became {value} at step {step + 1} of {self.total}.",
                hint=f"Lower the learning rate: --lr {self.recipe.lr / 10:g}.",
            )
        self.optimizer.zero_grad()
        self.head.backward(loss)
        self.optimizer.step()
        if (step + 1) % self.per_epoch == 0:
            self.head.epoch_end(step // self.per_epoch, math.ceil(self.total / self.per_epoch))
        return value, rate

    def estimate(self) -> Estimate:
        """Time two probe steps that change nothing."""
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            self.head.backward(self.forward(0))
            self.optimizer.zero_grad()
            seconds.append(time.perf_counter() - started)
        memory = peak_memory_mib(self.model.device)
        return Estimate(self.total, min(seconds) * self.total, memory)

    def evaluation_mode(self) -> None:
        """Switch dropout off."""
        training_mode(self.head, False)


def make_optimizer(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over a head's groups."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups, recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, recipe.lr, weight_decay=recipe.weight_decay)


def tune(training: Training, name: str, checkpoints: Checkpoints, tracker: Tracker) -> None:
    """Run a phase from its last checkpoint to its end.

    Raises:
        RunError: The loss became NaN or infinite; the last checkpoint stays.
        KeyboardInterrupt: Ctrl-C; a checkpoint of the last complete step was written.
    """
    start = checkpoints.restore(training.phase, training.head, training.optimizer)
    began = time.perf_counter()
    done = start
    try:
        for step in range(start, training.total):
            with interrupt_later():  # a step is made, counted and logged, or none of these
                loss, rate = training.step(step)
                done = step + 1
                left = (time.perf_counter() - began) / (done - start) * (training.total - done)
                tracker.log(Step(name, done, training.total, loss, rate, left))
                checkpoints.tick(training.phase, done, training.head, training.optimizer)
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"{training.model.device} ran out of memory at step {done + 1} of {training.total}.",
            hint=f"Use smaller batches: --batch-size {max(1, training.recipe.batch_size // 2)}.",
        ) from error
    except KeyboardInterrupt:
        checkpoints.save(training.phase, done, training.head, training.optimizer)
        raise
    finally:
        training.evaluation_mode()


def prepare(training: Training, tracker: Tracker) -> None:
    """Let a head fill its tensors from the embeddings of the training images, if it does so."""
    if type(training.head).prepare is not Head.prepare:
        tracker.stage("encoding the training images")
        views = torch.stack(list(support_embeddings(training)), 1)
        training.head.prepare(views, training.labels)


def support_embeddings(training: Training) -> Iterator[Tensor]:
    """Yield the finished embeddings (N, D) of the training images, a view at a time."""
    inputs = training.inputs
    for view in range(max(1, training.recipe.views)):
        with torch.no_grad(), autocast(training.model.device, training.precision):
            parts = [
                inputs.batch(range(i, min(i + 64, training.count)), view).finish()
                for i in range(0, training.count, 64)
            ]
        yield torch.cat(parts)
