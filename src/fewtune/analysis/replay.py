"""Replay of a run: the trained model, its start, and its training from the start."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewtune.analysis.parameter_map import ParameterMap, map_parameters
from fewtune.backbones import clip
from fewtune.core.errors import DataError
from fewtune.core.spec import Plan, Spec
from fewtune.core.task import Task
from fewtune.model.head import Head
from fewtune.training.device import choose_device, use_threads
from fewtune.training.job import Job, config_of
from fewtune.training.load_run import Tuned, load_run, strategy_of
from fewtune.training.loop import Training, prepare
from fewtune.training.run import Execution
from fewtune.training.run_folder import RunFolder
from fewtune.training.run_model import attach, set_preprocessing
from fewtune.training.tracking import Tracker


@dataclass(frozen=True)
class Opened:
    """A complete run.

    Attributes:
        label: Its strategy, and what differs from the other runs.
        tuned: The trained classifier.
        task: The images that it was made with, if they were found.
        device: Where its training is made again.
    """

    folder: RunFolder
    label: str
    record: dict[str, Any]
    tuned: Tuned
    task: Task | None
    device: str

    @property
    def head(self) -> Head:
        """The trained head; its model is the tuned one."""
        return self.tuned.head

    @property
    def spec(self) -> Spec:
        """What was asked for."""
        assert self.tuned.spec is not None
        return self.tuned.spec

    @cached_property
    def parameters(self) -> ParameterMap:
        """Where the tensors are."""
        return map_parameters(self.head, self.tuned.classes)

    @cached_property
    def execution(self) -> Execution | None:
        """The run's job on a fresh backbone; None without its images.

        Raises:
            DataError: The images are others than those that the run was made with.
        """
        if self.task is None:
            return None
        model = clip.load(self.spec.backbone)
        model.net.to(choose_device(self.device))
        set_preprocessing(model, self.spec.model_dump())
        config = config_of(self.spec).changed(runs=self.folder.path.parent, device=self.device)
        job = Job(config, self.task, strategy_of(self.spec), self.spec.recipe)
        execution = Execution(job, model, Tracker())
        if execution.spec.hash() != self.spec.hash():
            raise DataError(
                f"These images or prompts of '{self.spec.task}' are not those of "
                f"{self.folder.path.name}.",
                hint="Name what it was made with: --data DIR, and --layout or --subset as then.",
            )
        return execution

    def training(self) -> Training | None:
        """Return the first phase as it was before its first step; None without images or steps."""
        plan, recipe = self.folder.plan(), self.spec.recipe
        execution = self.execution
        if plan is None or recipe is None or execution is None:
            return None
        use_threads(plan.threads)
        phase = execution.job.strategy.phases(recipe)[0]
        head = execution.attached(phase, 0, None)
        here = plan.model_copy(update={"device": str(execution.model.device)})
        training = execution.training(head, phase.recipe, here, 0)
        training.use_plan(here)
        prepare(training, Tracker())
        return training

    @cached_property
    def start(self) -> dict[str, Tensor] | None:
        """What the strategy added, as it was before the first step, by the name it is saved by.

        Tensors of any shape. None where that is not known here: it was drawn on another kind of
        device, or made of images that were not found.
        """
        planned: Plan | None = self.folder.plan()
        if planned is None or torch.device(planned.device).type != self.head.model.device.type:
            return None
        if type(self.head).prepare is not Head.prepare:
            training = self.training()
            return None if training is None else _copied(training.head)
        model = clip.load(self.spec.backbone)
        model.net.to(self.head.model.device)
        strategy, spec = strategy_of(self.spec), self.spec
        return _copied(attach(strategy, model, self.tuned.classes, spec.recipe, spec.seed))


def _copied(head: Head) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in head.saved().items()}


def open_run(path: Path, label: str, task: Task | None, device: str = "auto") -> Opened:
    """Open a complete run.

    Args:
        task: Its images, with all splits, as read from where they lie; prompts need not be its own.

    Raises:
        RunError: Not a complete run folder.
        AdapterError: The backbone changed since, or the adapter file does not fit.
        DataError: The task has other classes than the run.
    """
    folder = RunFolder(path)
    tuned = load_run(path, device)
    assert tuned.spec is not None
    if task is not None:
        classes = folder.classes()
        if task.classes.names != classes.names:
            raise DataError(
                f"The images of '{task.name}' have other classes than {path.name}: "
                f"{len(task.classes)}, and the run has {len(classes)}.",
                hint="Give the images that the run was made with: --data DIR",
            )
        task = replace(task, name=tuned.spec.task, classes=replace(classes, counts=()))
    return Opened(folder, label, folder.record(), tuned, task, device)
