"""A strategy on a random CLIP: jobs, heads and trainings that last a second or two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewtune.core.spec import Plan, Recipe
from fewtune.core.task import ClassSet, Support, Task
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.testing.tiny import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.cut import find_cuts
from fewtune.training.job import Job
from fewtune.training.loop import Training, prepare
from fewtune.training.run_model import attach
from fewtune.training.tracking import Step, Tracker

STEPS = 6


@dataclass(frozen=True)
class ContractCase:
    """One strategy with one inference type, a folder to work in, and the tiny backbone's.

    Checks may share the folder: a run that one of them has made is complete for the next.
    """

    strategy: Strategy
    folder: Path
    backbone: Path

    @property
    def recipe(self) -> Recipe:
        """The default recipe; checks that train are not run without one."""
        recipe = type(self.strategy).recipe
        assert recipe is not None
        return recipe

    def scale(self, support: Support) -> float:
        """Return the factor on the length that makes about `STEPS` steps."""
        if not trains(type(self.strategy)):
            return 1.0
        return STEPS / self.recipe.total_steps(len(support.train), support.shots)

    def model(self) -> DualEncoder:
        """Return a fresh private copy of the tiny backbone."""
        return tiny_clip(self.backbone)

    def job(self, runs: str, task: Task | None = None, **changes: Any) -> Job:
        """Return a job of about `STEPS` steps, without a card."""
        task = task or tiny_task()
        if not (self.backbone / "config.json").exists():
            tiny_clip_folder(self.backbone)
        return replace(
            Job.of(
                self.strategy,
                task,
                str(self.backbone),
                recipe=type(self.strategy).recipe,
                steps_scale=self.scale(task.support()),
                device="cpu",
                precision="fp32",
                threads=1,
                runs=self.folder / runs,
            ),
            **changes,
        )

    def attached(self, classes: ClassSet | None = None) -> Head:
        """Return an untrained head on a fresh model."""
        classes = classes or tiny_task().support().classes
        recipe = type(self.strategy).recipe
        return attach(self.strategy, self.model(), classes, recipe, seed=0)

    def training(self, support: Support, cache: bool = True) -> Training:
        """Return the first phase, ready to run."""
        head = self.attached(support.classes)
        plan = Plan(device="cpu", threads=1, cache=cache, steps_scale=self.scale(support))
        training = Training(head, support, self.recipe, plan, "fp32", 0, 0)
        prepare(training, Tracker())
        return training

    def trained(self, support: Support, cache: bool = True) -> Training:
        """Return the first phase after three steps, switched to evaluation."""
        training = self.training(support, cache)
        for step in range(3):
            training.step(step)
        training.evaluation_mode()
        return training

    def cuts(self) -> tuple[int, int | None]:
        """Return how many leading stages of the image and of the text tower are frozen."""
        head = self.attached()
        cuts = find_cuts(head, head.classes)
        return cuts.image, cuts.text


def trains(kind: type[Strategy]) -> bool:
    """Return whether a strategy makes optimizer steps."""
    return kind.recipe is not None and kind.recipe.length > 0


class Interrupt(Tracker):
    """Raises KeyboardInterrupt after a number of steps, as Ctrl-C would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def log(self, step: Step) -> None:
        """Interrupt at the chosen step."""
        if step.step == self.after:
            raise KeyboardInterrupt
