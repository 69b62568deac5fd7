"""One run from start to end: zero-shot first, then train, evaluate and write the folder."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from fewtune.backbones.model_names import resolve as resolve_backbone
from fewtune.core.draws import few_shot
from fewtune.core.errors import ConfigError, DataError
from fewtune.core.lock import locked
from fewtune.core.naming import counted
from fewtune.core.spec import Plan, Recipe
from fewtune.core.task import Example, scored_digest
from fewtune.data import test_guard
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Phase
from fewtune.model.towers import Activations
from fewtune.training import scoring
from fewtune.training.checkpoints import Checkpoints
from fewtune.training.cut import find_cuts
from fewtune.training.device import (
    autocast,
    choose_attention,
    choose_precision,
    chosen_threads,
    free_memory_mib,
    use_threads,
)
from fewtune.training.disk_cache import DiskCache, activations_dir
from fewtune.training.estimate import estimate_cost
from fewtune.training.feature_cache import FeatureCache
from fewtune.training.image_loader import ImageLoader
from fewtune.training.image_stamp import store_stamp
from fewtune.training.job import Job, Result
from fewtune.training.loop import Training, prepare, tune
from fewtune.training.memory.memory_plan import budget_mib, plan_encoding, plan_training
from fewtune.training.memory.memory_probe import peak_mib, used_mib
from fewtune.training.mistakes import store_mistakes
from fewtune.training.run_folder import RunFolder, environment
from fewtune.training.run_model import attach, attach_phase, load_backbone, used_classes
from fewtune.training.seen_images import store_seen
from fewtune.training.tracking import Estimate, JsonLines, Tracker, Trackers


def run(job: Job, tracker: Tracker) -> Result:
    """Execute a job, or return its result when the same spec is complete already.

    An interrupted run of the same spec is continued from its last checkpoint.

    Raises:
        DataError: The task has no test images or no training images.
        RunError: Training failed, or the folder cannot be written.
    """
    if not job.task.test:
        raise DataError(f"Task '{job.task.name}' has no test images.")
    model = load_backbone(job, tracker)
    zero, asked = Execution(job.baseline(), model, tracker), Execution(job, model, tracker)
    fresh = not (zero.folder.complete() and asked.folder.complete())
    if not asked.folder.complete():
        asked.check_memory()
    if not zero.folder.complete():
        zero.execute(None)
    zero_shot = zero.folder.record()
    if not asked.folder.complete():
        asked.execute(zero_shot)
    return Result(asked.folder.path, asked.folder.record(), zero_shot, fresh)


def train(job: Job, tracker: Tracker) -> Path:
    """Train on a task without test images and return the run's folder.

    There is no baseline, and the record has no metrics. A final model has a card, others have none.

    Raises:
        DataError: The task has test images, which would be ignored, or no training images.
        RunError: Training failed, or the folder cannot be written.
    """
    if job.task.test:
        raise DataError(f"Task '{job.task.name}' has test images; use `run`.")
    asked = Execution(job, load_backbone(job, tracker), tracker)
    if not asked.folder.complete():
        asked.execute(None)
    return asked.folder.path


class Execution:
    """A job on a loaded backbone: its spec, its folder, and the steps that fill the folder.

    Attributes:
        images: The test images, if several runs share them.
        text: The finished class prompts, if several runs share them.
    """

    def __init__(self, job: Job, model: DualEncoder, tracker: Tracker) -> None:
        self.job = job
        self.model = model
        self.precision = choose_precision(model.device, job.config.precision)
        self.spec = job.spec(model.revision, model.name, self.precision)
        self.folder = RunFolder(job.config.runs / self.spec.folder())
        self.checkpoints = Checkpoints(self.folder.checkpoint, job.config.checkpoint_interval_s)
        self.tracker = Trackers([JsonLines(), tracker])
        folder = job.config.cache_dir or activations_dir()
        self.store = None if job.config.no_cache else DiskCache(folder, tracker.status)
        self.images: FeatureCache | None = None
        self.text: Activations | None = None
        self.task = few_shot(job.task, self.spec.shots, self.spec.seed, self.spec.draw)
        support = replace(self.task.support(), drawn=self.spec.shots)
        self.support = replace(support, classes=used_classes(support.classes, self.spec.templates))

    @property
    def learned(self) -> tuple[Example, ...]:
        """Training and validation images; none where nothing is trained."""
        return (*self.support.train, *self.support.val) if self.spec.recipe else ()

    def execute(self, zero_shot: dict[str, Any] | None) -> None:
        """Train (where there is something to train), evaluate, write the folder.

        Runs that train nothing are shared by others, so one that another process is working on is
        waited for.
        """
        with locked(self.folder.path, wait=self.spec.recipe is None):
            if not self.folder.complete():
                with self.guarded():
                    self._fill(zero_shot)

    def guarded(self) -> AbstractContextManager[None]:
        """Return the context in which test images are read by the evaluation alone.

        Raises:
            DataError: A training or validation image is a test image, too.
        """
        return test_guard.guarded(self.task.test, (*self.support.train, *self.support.val))

    def _fill(self, zero_shot: dict[str, Any] | None) -> None:
        started = time.perf_counter()
        plan = self.begin()
        self.tracker.start(self.folder.path, self.spec.model_dump(mode="json"))
        head, plan, steps = self._train(plan)
        training_s = time.perf_counter() - started
        self.finish(head, plan, zero_shot, {"steps": steps, "training_s": round(training_s, 3)})

    def begin(self) -> Plan:
        """Write what is known before training and return the plan, which is in force from now."""
        self.folder.begin(self.spec, self.task)
        source = resolve_backbone(self.job.config.backbone)
        if source.kind == "local":
            self.folder.write_backbone(source.path, self.model.revision)
        store_seen(self.folder.path, self.learned)
        store_stamp(self.folder.path, self.learned)
        plan = self.folder.plan() or self._plan()
        use_threads(plan.threads)
        return plan

    def finish(
        self, head: Head, plan: Plan, zero_shot: dict[str, Any] | None, cost: dict[str, Any]
    ) -> None:
        """Evaluate a trained head and write the folder.

        Args:
            cost: Of training, for the record.
        """
        started = time.perf_counter()
        self.folder.save_adapter(head)
        with test_guard.allowed():
            results = self._results(head, plan)
            if self.task.test and self.job.write_card:
                store_mistakes(self.folder.path, self.task.test)
        store_stamp(self.folder.path, self.learned, self.task.test)
        record = {
            "spec": self.spec.model_dump(mode="json"),
            "hash": self.spec.hash(),
            "plan": plan.model_dump(mode="json"),
            "environment": environment(self.spec.strategy),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "task": {
                "classes": list(self.task.classes.names),
                "notes": list(self.task.notes),
                "images": {split: len(e) for split, e in self.task.splits().items()},
                "scored": scored_digest(self.task),
                **({"validation_used": _tunes(head)} if self.support.val else {}),
            },
            **results,
            "files": self.folder.checksums(),
            "cost": {
                **_parameters(head),
                **cost,
                "total_s": round(cost["training_s"] + time.perf_counter() - started, 3),
                "peak_memory_mib": round(peak_mib(self.model.device), 1),
            },
            **({"search": dict(self.job.chosen_by)} if self.job.chosen_by else {}),
            **({"measured": dict(self.job.measured)} if self.job.measured else {}),
        }
        if (self.task.test or self.job.measured) and self.job.write_card:
            self.job.write_card(self.folder, record, zero_shot)
        self.tracker.finish(record)
        self.folder.finish(record)

    def check_memory(self) -> None:
        """Refuse a memory budget that is too small, before anything is computed.

        Raises:
            ConfigError: With a budget that works.
        """
        if self.job.config.memory_mib is not None and self.folder.plan() is None:
            with self.guarded():
                self._plan()

    def _plan(self) -> Plan:
        """Return a new plan: the device, the memory, and half of what is left to keep things in."""
        device = self.model.device
        memory = budget_mib(self.job.config.memory_mib, device)
        left = memory - used_mib(device) if memory else free_memory_mib()
        plan = Plan(
            device=str(device),
            threads=self.job.config.threads or chosen_threads(),
            cache=not self.job.config.no_cache,
            cache_mib=max(0, int(left / 2)),
            steps_scale=self.job.config.steps_scale,
            memory_mib=memory,
            attention=choose_attention(device, self.precision),
        )
        prompts = Head(self.model, self.support.classes).prompts(self.support.classes)
        scores = len(self.task.test) * len(self.task.classes)
        try:
            return plan_encoding(plan, self.model, prompts, self.precision, scores)
        except ConfigError:
            self._refuse(plan.model_copy(update={"cache_mib": 0}))
            raise

    def _refuse(self, plan: Plan) -> None:
        """Raise the error that names a budget in which training fits, too.

        Raises:
            ConfigError: Training takes more than encoding.
        """
        recipe = self.job.resolved_recipe()
        if recipe is not None and self.support.train:
            first = self.job.strategy.phases(recipe)[0]
            head = first.attach(self.model, self.support.classes, None)
            plan_training(plan, self.training(head, first.recipe, plan, 0))

    def _train(self, plan: Plan) -> tuple[Head, Plan, int]:
        recipe = self.job.resolved_recipe()
        if recipe is None:
            return attach(self.job.strategy, self.model, self.support.classes, None, 0), plan, 0
        if not self.support.train:
            raise DataError(f"Task '{self.task.name}' has no training images.")
        head: Head | None = None
        resumed = self.checkpoints.phase()
        for index, phase in enumerate(self.job.strategy.phases(recipe)):
            if head is not None and index == resumed:
                self.checkpoints.restore_earlier(head)
            elif head is not None and index > resumed:
                self.checkpoints.keep_earlier(head)
            test_guard.enter("attaching")
            head = self.attached(phase, index, head)
            if index >= resumed:
                plan = self._run_phase(head, phase, plan, index)
        assert head is not None
        return head, plan, self.steps(plan)

    def _run_phase(self, head: Head, phase: Phase, plan: Plan, index: int) -> Plan:
        """Run a phase from its checkpoint, if there is one, and return the plan that it ended with.

        What a checkpoint holds is restored before anything is computed from the head or the towers.
        """
        training = self.training(head, phase.recipe, plan, index)
        done = self.checkpoints.restore(index, head, training.optimizer)
        if done is None:
            test_guard.enter("preparing")
            prepare(training, self.tracker)
        test_guard.enter("training")
        self.tracker.estimate(self._settle(training))
        tune(training, phase.name, self.checkpoints, self.tracker, done or 0)
        self.tune_on_validation(head, training.plan)
        return training.plan

    def attached(self, phase: Phase, index: int, head: Head | None) -> Head:
        """Return the head of a phase before its first step, given that of the phase before it."""
        with autocast(self.model.device, self.precision):
            return attach_phase(
                phase, index, self.model, self.support.classes, head, self.job.config.seed
            )

    def training(self, head: Head, recipe: Recipe, plan: Plan, phase: int) -> Training:
        """Return a phase of a head that was attached, ready to run."""
        seed = self.job.config.seed
        return Training(head, self.support, recipe, plan, self.precision, seed, phase, self.store)

    def _settle(self, training: Training) -> Estimate:
        """Settle the plan of a phase, and return what the phase is going to cost.

        A new plan gets the pieces that fit into memory, and the length that fits into this phase's
        share of the time budget.
        """
        training.save_plan = self.folder.write_plan
        if self.folder.plan() is not None:
            return estimate_cost(training)
        training.use_plan(plan_training(training.plan, training))
        estimate = estimate_cost(training, probes=1)  # another one found the pieces
        budget_s = self.job.config.time_budget_s
        if budget_s is not None:
            budget_s *= training.total / max(1, self.steps(training.plan))
            if estimate.seconds > budget_s:
                scale = training.plan.steps_scale * budget_s / estimate.seconds
                training.use_plan(training.plan.model_copy(update={"steps_scale": scale}))
                estimate = replace(estimate, steps=training.total, seconds=budget_s)
        self.folder.write_plan(training.plan)
        return estimate

    def steps(self, plan: Plan) -> int:
        """Return how many steps all phases take."""
        recipe = self.job.resolved_recipe()
        phases = self.job.strategy.phases(recipe) if recipe else ()
        count, shots = len(self.support.train), self.support.shots
        return sum(p.recipe.total_steps(count, shots, plan.steps_scale) for p in phases)

    def tune_on_validation(self, head: Head, plan: Plan) -> None:
        """Let a head choose closed-form settings on finished validation embeddings."""
        val = self.support.val
        if not _tunes(head) or not val:
            return
        model, inputs = self.model, self.inputs(val, head, plan)
        with torch.inference_mode(), autocast(model.device, self.precision):
            parts = [batch.encoded().x for batch in inputs.batches()]
            images = Activations(model.image, torch.cat(parts), len(model.image.stages()))
            text = scoring.encode_classes(head, self.support.classes, self.precision)
            labels = torch.tensor([example.label for example in val], device=model.device)
            test_guard.enter("settling")
            head.tune_on_validation(images, text, labels)

    def inputs(
        self, examples: Sequence[Example], head: Head, plan: Plan, once: bool = True
    ) -> FeatureCache:
        """Return images to score, once or several times, with what other runs have computed."""
        return FeatureCache(
            self.model,
            ImageLoader(examples, self.model.preprocess, device=self.model.device),
            find_cuts(head, self.support.classes).image,
            self.precision,
            budget_bytes=plan.cache_mib * 2**20,
            once=once,
            disk_cache=self.store,
            encoding_batch=plan.encoding_batch,
        )

    def _results(self, head: Head, plan: Plan) -> dict[str, Any]:
        """Evaluate on the test images, if there are any, and write the predictions."""
        test = self.task.test
        if not test:
            return {"metrics": {}, "per_class": []}
        images = self.images
        if images is None:
            self.tracker.status(f"encoding {counted(len(test), 'test image')}")
            images = self.inputs(test, head, plan)
        logits = scoring.scores(head, self.support.classes, images, self.precision, self.text)
        labels = torch.tensor([example.label for example in test])
        self.folder.write_predictions(test, logits, self.task.classes.names)
        return {
            "metrics": scoring.metrics(logits, labels),
            "per_class": scoring.per_class_recall(logits, labels),
        }


def _tunes(head: Head) -> bool:
    """Whether a head chooses settings on validation images."""
    return type(head).tune_on_validation is not Head.tune_on_validation


def _parameters(head: Head) -> dict[str, Any]:
    trained = sum(p.numel() for p in (*head.parameters(), *head.model.tuned().values()))
    backbone = sum(parameter.numel() for parameter in head.model.net.parameters())
    return {"trained_parameters": trained, "trained_share": trained / backbone}
