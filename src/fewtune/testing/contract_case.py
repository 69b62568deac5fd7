"""A strategy on a random CLIP: jobs, heads and trainings that last a second or two."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fewtune.core.spec import Plan, Recipe
from fewtune.core.task import ClassSet, Example, Support, Task
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Phase, Strategy
from fewtune.testing.tiny import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.cut import find_cuts
from fewtune.training.image_loader import ImageLoader
from fewtune.training.job import Job
from fewtune.training.loop import Training, prepare
from fewtune.training.run_model import attach, attach_phase
from fewtune.training.scoring import scores
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
        assert recipe is not None, f"{self.strategy.name()} has no recipe"
        return recipe

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The stretches of training, each with the recipe of its own."""
        return self.strategy.phases(self.recipe)

    def scale(self, support: Support, phase: Phase | None = None) -> float:
        """Return the factor on the length that makes about `STEPS` steps of each phase."""
        phases = (phase,) if phase else self.phases if type(self.strategy).recipe else ()
        shots = support.shots
        total = sum(p.recipe.total_steps(len(support.train), shots) for p in phases)
        return STEPS * len(phases) / total if total else 1.0

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

    def training(
        self, support: Support, *, cache: bool = True, phase: int = 0, **recipe: Any
    ) -> Training:
        """Return a phase, ready to run, after some steps of those before it.

        Args:
            recipe: Fields of its recipe that are changed.
        """
        model, head = self.model(), None
        for index, part in enumerate(self.phases[: phase + 1]):
            head = attach_phase(part, index, model, support.classes, head, seed=0)
            plan = Plan(device="cpu", threads=1, cache=cache, steps_scale=self.scale(support, part))
            changed = part.recipe.model_copy(update=recipe if index == phase else {})
            training = Training(head, support, changed, plan, "fp32", 0, index)
            prepare(training, Tracker())
            if index < phase:
                make_steps(training)
        return training

    def trained(self, support: Support, *, cache: bool = True) -> Training:
        """Return the last phase after some steps of every phase, switched to evaluation."""
        training = self.training(support, cache=cache, phase=len(self.phases) - 1)
        make_steps(training)
        return training

    def cuts(self) -> tuple[int, int | None]:
        """Return how many leading stages of the image and of the text tower are frozen."""
        head = self.attached()
        cuts = find_cuts(head, head.classes)
        return cuts.image, cuts.text


def make_steps(training: Training, count: int = 3) -> list[float]:
    """Make the first steps of a phase, switch it to evaluation, and return the losses."""
    losses = [training.step(step)[0] for step in range(min(count, training.total))]
    training.evaluation_mode()
    return losses


def trains(kind: type[Strategy]) -> bool:
    """Return whether a strategy makes optimizer steps."""
    return kind.recipe is not None and kind.recipe.length > 0


class Interrupt(Tracker):
    """Raises KeyboardInterrupt in the middle of a phase, as Ctrl-C would."""

    def __init__(self, phase: str) -> None:
        self.phase = phase

    def log(self, step: Step) -> None:
        """Interrupt at the chosen step."""
        if step.phase == self.phase and step.step == (step.total + 1) // 2:
            raise KeyboardInterrupt


def scores_of(head: Head, examples: Sequence[Example]) -> Tensor:
    """Return the logits (N, C) of images, as a run computes them."""
    return scores(head, head.classes, ImageLoader(examples, head.model.preprocess), "fp32")


def difference(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference of two tensors of any shape."""
    return float((a - b).abs().max())


def some(names: Iterable[str]) -> str:
    """Return the first three names, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more
