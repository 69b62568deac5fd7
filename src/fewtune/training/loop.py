"""The training loop: one, short, in plain sight.

Everything random in a step is a function of (seed, step): the batch, the views and, by reseeding,
dropout. So the trained tensors, the optimizer's state and the step number are all there is to
resume from.
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fewtune.core.errors import ConfigError, RunError
from fewtune.core.spec import Plan, Precision, Recipe
from fewtune.core.task import Support
from fewtune.model.head import Head, score
from fewtune.model.towers import Activations
from fewtune.training.checkpoints import Checkpoints
from fewtune.training.cut import Cuts, find_cuts, prompts_at, share_prefix, training_mode
from fewtune.training.device import autocast, held_in, read_later, rows_of
from fewtune.training.disk_cache import DiskCache
from fewtune.training.feature_cache import FeatureCache
from fewtune.training.image_loader import ImageLoader
from fewtune.training.interrupt import interrupt_later
from fewtune.training.seeding import epoch_order, seed_step
from fewtune.training.tracking import Step, Tracker


class Training:
    """One phase, ready to run: images, class prompts, optimizer and the means to make a step.

    Attributes:
        features: The training images as they enter the image tower.
        labels: (N,) of the training images, on the model's device.
        per_epoch: Steps of an epoch.
        total: Steps of the phase.
        divisible: Whether a batch may be worked on in micro-batches.
        save_plan: Receives a plan that changes while training.
    """

    def __init__(
        self,
        head: Head,
        support: Support,
        recipe: Recipe,
        plan: Plan,
        precision: Precision,
        seed: int,
        phase: int,
        disk_cache: DiskCache | None = None,
    ) -> None:
        self.head = head
        self.model = head.model
        self.recipe, self.plan = recipe, plan
        self.seed, self.phase = seed, phase
        self.model.set_attention(plan.attention)
        self.precision: Precision = precision
        self.labels = torch.tensor([e.label for e in support.train], device=self.model.device)
        self.count = len(support.train)
        self.per_epoch = recipe.steps_per_epoch(self.count)
        self.shots = support.shots
        self.total = recipe.total_steps(self.count, self.shots, plan.steps_scale)
        self.divisible = head.divisible and type(head).backward is Head.backward
        self.save_plan: Callable[[Plan], None] = lambda plan: None
        self.parameters = dict(head.trainable())
        if any(p.numel() for p in self.parameters.values()) != (self.total > 0):
            raise ConfigError(
                "With these options there is nothing to train.",
                hint="Leave out the options that switch off what the strategy trains.",
            )
        self.optimizer = make_optimizer(recipe, head.groups(self.parameters))
        cuts = find_cuts(head, support.classes)
        share_prefix(self.model.text, recipe.shared_prefix, cuts)
        self.cuts = cuts if plan.cache else Cuts(0, cuts.text and 0)
        self.class_set = support.classes
        self._examples, self._disk_cache = support.train, disk_cache
        self.features = self._feature_cache()

    def _feature_cache(self) -> FeatureCache:
        recipe, plan = self.recipe, self.plan
        images = ImageLoader(
            self._examples, self.model.preprocess, recipe, self.seed, device=self.model.device
        )
        return FeatureCache(
            self.model,
            images,
            self.cuts.image,
            self.precision,
            views=recipe.views,
            budget_bytes=plan.cache * plan.cache_mib * 2**20,
            disk_cache=self._disk_cache if plan.cache else None,
            encoding_batch=plan.encoding_batch,
        )

    @functools.cached_property
    def classes(self) -> Activations | None:
        """The class prompts (P, ...) as they enter the text tower at its cut; None without one."""
        if self.cuts.text is None:
            return None
        with autocast(self.model.device, self.precision):
            prompts = prompts_at(self.head, self.class_set, self.cuts.text)
        return replace(prompts, chunk=self.plan.text_chunk)

    def batch(self, step: int) -> tuple[list[int], int]:
        """Return the indices of a step's images (at most `batch_size`), and its epoch."""
        epoch, index = divmod(step, self.per_epoch)
        order = epoch_order(self.seed, epoch, self.count)
        size = self.recipe.batch_size
        return list(order[index * size : (index + 1) * size]), epoch

    def _prefetch(self, step: int) -> None:
        """Begin to read the images of the next step while this one is computed."""
        if step < self.total:
            self.features.prefetch(*self.batch(step))

    def forward(self, step: int) -> Tensor:
        """Return the loss of a step's batch, a scalar with its graph; dropout is on."""
        batch, epoch = self.batch(step)
        training_mode(self.head, True)
        seed_step(self.seed, self.phase, step)
        with autocast(self.model.device, self.precision):
            images = self.features.batch(batch, epoch)
            self._prefetch(step + 1)
            output = score(self.head, images, self.classes)
            return self.head.loss(output, rows_of(self.labels, batch))

    def gradients(self, step: int) -> Callable[[], float]:
        """Fill the gradients of a step, with dropout on, and return a function that reads its loss.

        After an out-of-memory error the step is tried again in halves, which become the plan.

        Raises:
            torch.OutOfMemoryError: One image and one class prompt at a time are too much.
        """
        while True:
            self.optimizer.zero_grad()
            try:
                if self.divisible and 0 < self.plan.micro_batch < self.recipe.batch_size:
                    return self._in_micro_batches(step)
                loss = self.forward(step)
                value = read_later(loss.detach())
                self.head.backward(loss)
                return value
            except torch.OutOfMemoryError:
                smaller = self._halved()
                if smaller == self.plan:
                    raise
            # Out of the handler: as long as it lasts, it keeps the tensors of what failed.
            self.use_plan(smaller)
            self.save_plan(smaller)

    def _in_micro_batches(self, step: int) -> Callable[[], float]:
        """Add up the gradients of micro-batches, which share one pass of the class prompts.

        Prompts that depend on the image have a pass for each image anyway.
        """
        batch, epoch = self.batch(step)
        training_mode(self.head, True)
        seed_step(self.seed, self.phase, step)
        mixed = functools.partial(autocast, self.model.device, self.precision)
        with mixed():
            one_pass = self.classes and not self.head.conditional
            classes = self.classes.encoded() if self.classes and one_pass else self.classes
        shared = classes.as_leaf() if classes and one_pass else classes
        drawn = torch.get_rng_state()
        self._prefetch(step + 1)
        losses = []
        for start in range(0, len(batch), self.plan.micro_batch):
            torch.set_rng_state(drawn)  # all see the dropout of the whole batch
            part = batch[start : start + self.plan.micro_batch]
            with mixed():
                images = replace(self.features.batch(part, epoch), first=start)
                loss = self.head.loss(score(self.head, images, shared), rows_of(self.labels, part))
                loss = loss * (len(part) / len(batch))
            self.head.backward(loss)
            losses.append(loss.detach())
        if classes and shared and shared.x.grad is not None:
            classes.x.backward(shared.x.grad)  # type: ignore[no-untyped-call]
        return read_later(torch.stack(losses).sum())

    def _halved(self) -> Plan:
        """Return the plan with half as many images and class prompts at a time."""
        update = {}
        images = self.plan.micro_batch or min(self.recipe.batch_size, self.count)
        if self.divisible and images > 1:
            update["micro_batch"] = math.ceil(images / 2)
        prompts = self.plan.text_chunk or (len(self.classes.x) if self.classes else 0)
        if prompts > 1:
            update["text_chunk"] = math.ceil(prompts / 2)
        return self.plan.model_copy(update=update)

    def use_plan(self, plan: Plan) -> None:
        """Take micro-batches, text chunks, number of steps and a smaller cache from a plan."""
        shrinks = plan.cache_mib < self.plan.cache_mib
        self.plan = plan
        if shrinks:
            self.features = self._feature_cache()
        self.total = self.recipe.total_steps(self.count, self.shots, plan.steps_scale)
        if self.classes:
            self.classes = replace(self.classes, chunk=plan.text_chunk)

    def step(self, step: int) -> tuple[float, float]:
        """Make one optimizer step (numbered from 0) and return (loss, learning rate).

        Raises:
            RunError: The loss is not finite; nothing was changed by this step.
        """
        rate = self.recipe.rate(step, self.total, self.per_epoch, self.plan.steps_scale)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("rate", 1.0)
        value = self.gradients(step)()
        if not math.isfinite(value):
            raise self.diverged(value, step)
        self.optimizer.step()
        if (step + 1) % self.per_epoch == 0:
            self.head.epoch_end(step // self.per_epoch, math.ceil(self.total / self.per_epoch))
        return value, rate

    def diverged(self, loss: float, step: int, of_run: str = "") -> RunError:
        """Return the error of a step whose loss is not finite."""
        return RunError(
            f"The loss became {loss} at step {step + 1} of {self.total}{of_run}.",
            hint=f"Lower the learning rate: --lr {self.recipe.lr / 10:g}.",
        )

    def evaluation_mode(self) -> None:
        """Switch dropout off."""
        training_mode(self.head, False)

    def lowered(self) -> contextlib.AbstractContextManager[None]:
        """Return the context in which frozen linear layers hold bf16 weights, for runs in bf16."""
        return held_in(self.model.net, self.precision)


def make_optimizer(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over a head's groups."""
    options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if all(p.device.type == "cpu" for group in groups for p in group["params"]):
        options["fused"] = True  # one pass over memory; GPUs have torch's own default
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, **options)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, **options)


def tune(
    training: Training, name: str, checkpoints: Checkpoints, tracker: Tracker, start: int = 0
) -> None:
    """Run a phase to its end.

    Args:
        start: How many of its steps a restored checkpoint has done.

    Raises:
        RunError: The loss became NaN or infinite; the last checkpoint stays.
        KeyboardInterrupt: Ctrl-C; a checkpoint of the last complete step was written.
    """
    began = time.perf_counter()
    done = start
    try:
        with training.lowered():
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
        tracker.status("encoding the training images")
        features, views = training.features, range(max(1, training.recipe.views))
        with torch.no_grad(), autocast(training.model.device, training.precision):
            z = [torch.cat([b.embeddings() for b in features.batches(view)]) for view in views]
        training.head.prepare(torch.stack(z, 1), training.labels)
