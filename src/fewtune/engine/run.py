"""One run from start to end: zero-shot first, then train, evaluate and write the folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from fewtune.backbones import clip
from fewtune.core.errors import DataError, RunError
from fewtune.core.files import write_json
from fewtune.core.head import Head
from fewtune.core.model import DualEncoder, Partial
from fewtune.core.preprocess import ResizePolicy
from fewtune.core.spec import Plan, Precision, Recipe, Spec, Templates
from fewtune.core.strategy import Strategy
from fewtune.core.task import ClassSet, Support, Task, few_shot
from fewtune.engine import evaluate
from fewtune.engine.card import write_card
from fewtune.engine.checkpoint import INTERVAL_S, Checkpoints
from fewtune.engine.device import choose_device, choose_precision, peak_memory_mib
from fewtune.engine.fit import Training, seed_step, support_embeddings, tune
from fewtune.engine.images import Pixels, chunks
from fewtune.engine.record import RunFolder, environment
from fewtune.engine.tracking import JsonLines, Tracker, Trackers
from fewtune.strategies.zero_shot import ZeroShot


@dataclass(frozen=True)
class Job:
    """What a run is asked for.

    Attributes:
        task: The whole task, before few-shot draws, with a test split.
        recipe: The strategy's recipe with all overrides; None for its default.
        shots: Training images per class; None for all.
        precision: None chooses by device.
        threads: CPU threads; None for as many as torch uses.
        runs: The folder that holds run folders.
    """

    strategy: Strategy
    task: Task
    backbone: str
    recipe: Recipe | None = None
    shots: int | None = None
    seed: int = 0
    steps_scale: float = 1.0
    time_budget_s: float | None = None
    templates: Templates = "all"
    resize: ResizePolicy | None = None
    precision: Precision | None = None
    device: str = "auto"
    threads: int | None = None
    runs: Path = field(default=Path("runs"))
    checkpoint_interval_s: float = INTERVAL_S

    def resolved_recipe(self) -> Recipe | None:
        """Return the recipe in force; None for a strategy that trains nothing."""
        default = type(self.strategy).recipe
        return (self.recipe or default) if default else None

    def spec(self, revision: str, name: str, precision: Precision) -> Spec:
        """Return what the run is, given the backbone's revision and canonical name."""
        return Spec(
            strategy=self.strategy.name(),
            version=self.strategy.version,
            options=self.strategy.model_dump(mode="json", exclude_defaults=True),
            recipe=self.resolved_recipe(),
            task=self.task.name,
            data=self.task.fingerprint(),
            backbone=name,
            revision=revision,
            precision=precision,
            shots=self.shots,
            seed=self.seed,
            templates=self.templates,
            resize=self.resize,
            steps_scale=self.steps_scale,
            time_budget_s=self.time_budget_s,
        )

    def baseline(self) -> Job:
        """Return the zero-shot job that this one is compared with: same prompts, same pixels."""
        return replace(
            self,
            strategy=ZeroShot(),
            recipe=None,
            shots=None,
            seed=0,
            steps_scale=1.0,
            time_budget_s=None,
        )


@dataclass(frozen=True)
class Result:
    """A complete run.

    Attributes:
        record: Contents of its record.json.
        zero_shot: Record of the zero-shot run it is compared with.
        fresh: Whether it was computed now; False when it was complete before.
    """

    folder: Path
    record: dict[str, Any]
    zero_shot: dict[str, Any]
    fresh: bool


def run(job: Job, tracker: Tracker) -> Result:
    """Execute a job, or return its result when the same spec is complete already.

    An interrupted run of the same spec is continued from its last checkpoint.

    Raises:
        DataError: The task has no test images or no training images.
        RunError: Training failed, or the folder cannot be written.
    """
    if not job.task.test:
        raise DataError(f"Task '{job.task.name}' has no test images.")
    model, precision, folder = _prepare(job, tracker)
    baseline = job.baseline()
    zero_folder = RunFolder(
        job.runs / baseline.spec(model.revision, model.name, precision).folder()
    )
    if folder.complete() and zero_folder.complete():
        return Result(folder.path, folder.record(), zero_folder.record(), fresh=False)
    if not zero_folder.complete():
        _execute(baseline, model, zero_folder, precision, tracker, None)
    zero_shot = zero_folder.record()
    if folder.path != zero_folder.path and not folder.complete():
        _execute(job, model, folder, precision, tracker, zero_shot)
    return Result(folder.path, folder.record(), zero_shot, fresh=True)


def train(job: Job, tracker: Tracker) -> Path:
    """Train on a task without test images and return the run's folder.

    There is no baseline and no card, and the record has no metrics.

    Raises:
        DataError: The task has test images, which would be ignored, or no training images.
        RunError: Training failed, or the folder cannot be written.
    """
    if job.task.test:
        raise DataError(f"Task '{job.task.name}' has test images; use `run`.")
    model, precision, folder = _prepare(job, tracker)
    if not folder.complete():
        _execute(job, model, folder, precision, tracker, None)
    return folder.path


def _prepare(job: Job, tracker: Tracker) -> tuple[DualEncoder, Precision, RunFolder]:
    """Load the backbone and find the run's folder, which its revision names."""
    device = choose_device(job.device)
    precision = job.precision or choose_precision(device)
    tracker.stage(f"loading {job.backbone}")
    model = clip.load(job.backbone)
    model.net.to(device)
    prepare_inputs(model, job.resize)
    spec = job.spec(model.revision, model.name, precision)
    return model, precision, RunFolder(job.runs / spec.folder())


def _execute(
    job: Job,
    model: DualEncoder,
    folder: RunFolder,
    precision: Precision,
    tracker: Tracker,
    zero_shot: dict[str, Any] | None,
) -> None:
    """Train (where there is something to train), evaluate, write the folder."""
    started = time.perf_counter()
    task = few_shot(job.task, job.shots, job.seed)
    spec = job.spec(model.revision, model.name, precision)
    with _locked(folder):
        folder.begin(spec, task)
        tracker = Trackers([JsonLines(), tracker])
        tracker.start(folder.path, spec.model_dump(mode="json"))
        support = task.support()
        support = replace(support, classes=used_classes(support.classes, job.templates))
        plan = folder.plan() or _plan(job, model.device)
        torch.set_num_threads(plan.threads)
        checkpoints = Checkpoints(folder.checkpoint, job.checkpoint_interval_s)
        head, plan, steps = _train(
            job, model, support, plan, precision, folder, checkpoints, tracker
        )
        trained_s = time.perf_counter() - started
        folder.save_adapter(head)
        results = _results(head, support.classes, task, precision, folder, tracker)
        record = {
            "spec": spec.model_dump(mode="json"),
            "hash": spec.hash(),
            "plan": plan.model_dump(mode="json"),
            "environment": environment(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "task": {
                "classes": list(task.classes.names),
                "notes": list(task.notes),
                "images": {split: len(e) for split, e in task.splits().items()},
            },
            **results,
            "cost": _cost(head, model, steps, trained_s, time.perf_counter() - started),
        }
        if task.test:
            write_card(folder, record, zero_shot)
        write_json(folder.path / "record.json", record)
        checkpoints.remove()
        tracker.finish(record)


def _results(
    head: Head,
    classes: ClassSet,
    task: Task,
    precision: Precision,
    folder: RunFolder,
    tracker: Tracker,
) -> dict[str, Any]:
    """Evaluate on the test images, if there are any, and write the predictions."""
    if not task.test:
        return {"metrics": {}, "per_class": []}
    tracker.stage(f"encoding {len(task.test):,} test images")
    pixels = Pixels(task.test, head.model.preprocess)
    logits = evaluate.scores(head, classes, pixels, precision)
    labels = torch.tensor([example.label for example in task.test])
    folder.write_predictions(task.test, logits)
    return {
        "metrics": evaluate.metrics(logits, labels),
        "per_class": evaluate.per_class_recall(logits, labels),
    }


def prepare_inputs(model: DualEncoder, resize: ResizePolicy | None) -> None:
    """Override the checkpoint's resize policy if a run asks for it."""
    if resize:
        model.preprocess = replace(model.preprocess, policy=resize)


def used_classes(classes: ClassSet, templates: Templates) -> ClassSet:
    """Return the classes with the prompt templates that a run uses."""
    return classes if templates == "all" else replace(classes, templates=classes.templates[:1])


def attach(
    strategy: Strategy, model: DualEncoder, classes: ClassSet, recipe: Recipe | None, seed: int
) -> Head:
    """Replay all phases' `attach` without training: the head that a saved run fits into."""
    if recipe is None:
        return strategy.attach(model, classes)
    head: Head | None = None
    for index, phase in enumerate(strategy.phases(recipe)):
        seed_step(seed, index, -1)
        head = phase.attach(model, classes, head)
    assert head is not None
    return head.eval()


def _train(
    job: Job,
    model: DualEncoder,
    support: Support,
    plan: Plan,
    precision: Precision,
    folder: RunFolder,
    checkpoints: Checkpoints,
    tracker: Tracker,
) -> tuple[Head, Plan, int]:
    recipe = job.resolved_recipe()
    if recipe is None:
        return job.strategy.attach(model, support.classes).eval(), plan, 0
    if not support.train:
        raise DataError(f"Task '{job.task.name}' has no training images.")
    head: Head | None = None
    resumed_phase = checkpoints.phase()
    steps = 0
    for index, phase in enumerate(job.strategy.phases(recipe)):
        seed_step(job.seed, index, -1)
        head = phase.attach(model, support.classes, head)
        if index < resumed_phase:
            continue
        if not (folder.path / "plan.json").exists():
            plan = _fit_budget(
                job, Training(head, support, phase.recipe, plan, precision, job.seed, index), plan
            )
            folder.write_plan(plan)
        training = Training(head, support, phase.recipe, plan, precision, job.seed, index)
        if type(head).prepare is not Head.prepare:
            tracker.stage("encoding the training images")
            head.prepare(torch.stack(list(support_embeddings(training)), 1), training.labels)
        tracker.estimate(training.estimate())
        tune(training, phase.name, checkpoints, tracker)
        steps += training.total
        _settle(head, training, support)
    assert head is not None
    return head, plan, steps


def _settle(head: Head, training: Training, support: Support) -> None:
    """Let a head choose closed-form settings on finished validation embeddings."""
    if type(head).settle is Head.settle or not support.val:
        return
    model, precision = head.model, training.precision
    pixels = Pixels(support.val, model.preprocess)
    with torch.inference_mode():
        parts = [
            model.pixels(pixels.batch(part, None)).done().x
            for part in chunks(len(support.val), evaluate.EVALUATION_BATCH)
        ]
        images = Partial(model.image, torch.cat(parts), len(model.image.stages()))
        text = evaluate.encode_classes(model, head, support.classes, precision)
        labels = torch.tensor([e.label for e in support.val], device=model.device)
        head.settle(images, text, labels)


def _plan(job: Job, device: torch.device) -> Plan:
    threads = job.threads or torch.get_num_threads()
    return Plan(device=str(device), threads=threads, steps_scale=job.steps_scale)


def _fit_budget(job: Job, training: Training, plan: Plan) -> Plan:
    """Shorten the plan so that training takes no longer than the time budget."""
    if job.time_budget_s is None:
        return plan
    estimate = training.estimate()
    factor = min(1.0, job.time_budget_s / max(estimate.seconds, 1e-9))
    return plan.model_copy(update={"steps_scale": plan.steps_scale * factor})


def _cost(
    head: Head, model: DualEncoder, steps: int, trained_s: float, total_s: float
) -> dict[str, Any]:
    trained = sum(p.numel() for p in (*head.parameters(), *model.tuned().values()))
    backbone = sum(parameter.numel() for parameter in model.net.parameters())
    return {
        "trained_parameters": trained,
        "trained_share": trained / backbone,
        "steps": steps,
        "training_s": round(trained_s, 3),
        "total_s": round(total_s, 3),
        "peak_memory_mib": round(peak_memory_mib(model.device), 1),
    }


@contextlib.contextmanager
def _locked(folder: RunFolder) -> Iterator[None]:
    """Hold the run's folder; the system releases it however the process ends."""
    try:
        import fcntl
    except ImportError:  # Windows has no flock; two processes on one run are then not noticed
        yield
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    with (folder.path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"Another process is working on {folder.path}.", hint="Wait for it to end."
            ) from error
        yield
