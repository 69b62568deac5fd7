"""What every strategy promises, as checks that run on a random CLIP in a second or two each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydantic
import torch

from fewtune.core.errors import DataError
from fewtune.core.files import read_json
from fewtune.core.spec import Plan, Recipe
from fewtune.core.task import ClassSet, Support, Task
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.model.towers import Prompts
from fewtune.reports.model_card import write_card
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.testing.tiny import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.checkpoints import Checkpoints
from fewtune.training.cut import find_cuts
from fewtune.training.image_loader import ImageLoader
from fewtune.training.job import Job
from fewtune.training.load_run import load_run
from fewtune.training.loop import Training, prepare, tune
from fewtune.training.run import run
from fewtune.training.run_folder import RunFolder
from fewtune.training.run_model import attach
from fewtune.training.scoring import scores
from fewtune.training.tracking import Step, Tracker

STEPS = 6
TOLERANCE = 1e-5


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


Check = Callable[[ContractCase], None]


def options_survive_json(subject: ContractCase) -> None:
    """A strategy equals itself after a trip through JSON."""
    strategy = subject.strategy
    assert type(strategy).model_validate_json(strategy.model_dump_json()) == strategy


def out_of_bound_values_are_refused(subject: ContractCase) -> None:
    """A value beyond a declared bound is an error, for every bounded field."""
    kind = type(subject.strategy)
    for name, field in kind.model_fields.items():
        for bound in field.metadata:
            for attribute, outside in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
                limit = getattr(bound, attribute, None)
                if limit is None:
                    continue
                value = limit + outside if attribute in ("ge", "le") else limit
                try:
                    kind.model_validate({name: value})
                except pydantic.ValidationError:
                    continue
                raise AssertionError(f"{kind.__name__} accepts {name}={value!r}")


def starts_where_it_says(subject: ContractCase) -> None:
    """Untrained logits equal zero-shot CLIP's exactly when the strategy says that they do."""
    if subject.strategy.classifier == "linear":
        return
    task = tiny_task()
    head = subject.attached()
    reference = ZeroShot().attach(subject.model(), task.classes).eval()
    pixels = ImageLoader(task.test, head.model.preprocess)
    ours, zero = (scores(h, task.classes, pixels, "fp32") for h in (head, reference))
    assert torch.allclose(ours, zero, atol=1e-4) == type(subject.strategy).starts_as_zero_shot


def every_trained_tensor_learns(subject: ContractCase) -> None:
    """Within three steps each trained tensor gets a gradient that is not zero."""
    training = subject.training(tiny_task().support())
    seen: set[str] = set()
    for step in range(3):
        training.step(step)
        for name, parameter in training.head.trainable():
            if parameter.grad is not None and bool(parameter.grad.any()):
                seen.add(name)
    assert seen == {name for name, _ in training.head.trainable()}


def frozen_tensors_stay(subject: ContractCase) -> None:
    """Training leaves every other tensor of the backbone bit-equal, and `original` restores all."""
    training = subject.training(tiny_task().support())
    model = training.head.model
    for step in range(3):
        training.step(step)
    training.evaluation_mode()
    before = dict(subject.model().net.named_parameters())
    tuned = set(model.tuned())
    after = {n.replace(".base.", "."): p for n, p in model.net.named_parameters()}
    assert all(torch.equal(after[n], p) for n, p in before.items() if n not in tuned)
    with model.original():
        restored = dict(model.net.named_parameters())
        assert restored.keys() == before.keys()
        assert all(torch.equal(restored[name], before[name]) for name in before)


def caching_changes_nothing(subject: ContractCase) -> None:
    """Activations kept at the cut give the same training as streaming."""
    states = []
    for cache in (True, False):
        training = subject.training(tiny_task().support(), cache)
        for step in range(3):
            training.step(step)
        states.append({n: v.clone() for n, v in training.head.saved().items()})
    cached, streamed = states
    for name in cached:
        assert torch.allclose(cached[name], streamed[name], atol=TOLERANCE), name


def same_spec_gives_the_same_bytes(subject: ContractCase) -> None:
    """Two runs of one spec write equal adapters and predictions."""
    first, second = (run(subject.job(runs), Tracker()).folder for runs in ("runs", "again"))
    for name in ("adapter.safetensors", "predictions.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def a_saved_run_gives_equal_logits(subject: ContractCase) -> None:
    """What is loaded predicts what was evaluated, and the file holds nothing frozen."""
    task = tiny_task()
    result = run(subject.job("runs", task), Tracker())
    tuned = load_run(result.folder, "cpu")
    lines = (result.folder / "predictions.csv").read_text().splitlines()[1:]
    confidence, label = tuned.scores(task.test).softmax(1).max(1)
    assert [int(line.split(",")[2]) for line in lines] == label.tolist()
    stored = torch.tensor([float(line.split(",")[3]) for line in lines])
    assert torch.allclose(stored, confidence, atol=2e-6)
    frozen = {id(p) for p in tuned.head.model.net.parameters()}
    frozen -= {id(p) for p in tuned.head.model.tuned().values()}
    assert not frozen & {id(v) for v in tuned.head.saved().values()}
    fixed = {f"head.{name}" for name, _ in tuned.head.named_buffers()}
    assert result.record["cost"]["trained_parameters"] == sum(
        v.numel() for name, v in tuned.head.saved().items() if name not in fixed
    )


def class_order_does_not_matter(subject: ContractCase) -> None:
    """Renumbering the classes permutes the columns of the scores and changes nothing else.

    Dropout is off: its masks follow the rows of a batch.
    """
    if "dropout" in type(subject.strategy).model_fields:
        subject = replace(subject, strategy=subject.strategy.model_copy(update={"dropout": 0.0}))
    task = tiny_task()
    order = [2, 0, 1]
    moved = _relabel(task, order)
    trained = []
    for support in (task.support(), moved.support()):
        training = subject.training(support)
        for step in range(3):
            training.step(step)
        training.evaluation_mode()
        pixels = ImageLoader(task.test, training.model.preprocess)
        trained.append(scores(training.head, support.classes, pixels, "fp32"))
    assert torch.allclose(trained[0][:, order], trained[1], atol=1e-3)


def new_classes_as_declared(subject: ContractCase) -> None:
    """A head that is not bound to its classes scores others; a bound one refuses."""
    task = tiny_task()
    result = run(subject.job("runs", task), Tracker())
    tuned = load_run(result.folder, "cpu")
    other = ClassSet(("circle", "square", "star", "cross"), task.classes.templates)
    if tuned.head.class_bound:
        try:
            tuned.with_classes(other)
        except DataError:
            return
        raise AssertionError("a class-bound head accepted new classes")
    assert tuned.with_classes(other).scores(task.test).shape == (len(task.test), 4)


def a_resumed_run_equals_an_uninterrupted_one(subject: ContractCase) -> None:
    """Interrupted halfway and continued, a run writes the same adapter."""
    whole = run(subject.job("runs"), Tracker()).folder
    try:
        run(subject.job("broken"), _Interrupt(STEPS // 2))
    except KeyboardInterrupt:
        assert (subject.folder / "broken").is_dir()
    else:
        raise AssertionError("the run was not interrupted")
    resumed = run(subject.job("broken"), Tracker()).folder
    name = "adapter.safetensors"
    assert (whole / name).read_bytes() == (resumed / name).read_bytes()


def the_loss_falls(subject: ContractCase) -> None:
    """Twenty-four steps on one fixed batch lower the loss."""
    recipe = subject.recipe.model_copy(
        update={
            "length": 24,
            "length_unit": "steps",
            "crop_scale": None,
            "warmup": 0,
            "schedule": "constant",
            "batch_size": 16,
        }
    )
    support = tiny_task().support()
    head = subject.attached(support.classes)
    plan = Plan(device="cpu", threads=1)
    training = Training(head, support, recipe, plan, "fp32", 0, 0)
    losses: list[float] = []
    checkpoints = Checkpoints(subject.folder / "falls.safetensors", float("inf"))
    tune(training, "tune", checkpoints, _Losses(losses))
    assert sum(losses[-5:]) < sum(losses[:5])


def prompts_cover_the_classes(subject: ContractCase) -> None:
    """Every class has a prompt, in the order of the classes."""
    head = subject.attached()
    prompts: Prompts = head.prompts(head.classes)
    assert sorted(set(prompts.owner)) == list(range(len(head.classes)))
    assert prompts.classes == head.classes.names


def the_record_is_complete(subject: ContractCase) -> None:
    """A finished folder holds what its documentation lists and no unfinished state."""
    result = run(subject.job("runs"), Tracker())
    folder = result.folder
    write_card(RunFolder(folder), result.record, result.zero_shot)
    names = {path.name for path in folder.iterdir()}
    assert {
        "record.json",
        "spec.json",
        "task.json",
        "adapter.safetensors",
        "predictions.csv",
        "README.md",
        "summary.png",
    } <= names
    assert "checkpoint.safetensors" not in names
    record = read_json(folder / "record.json")
    assert record["spec"]["strategy"] == subject.strategy.name()
    assert 0 <= record["metrics"]["top1"] <= record["metrics"]["top5"] <= 1


ALWAYS: tuple[Check, ...] = (
    options_survive_json,
    out_of_bound_values_are_refused,
    starts_where_it_says,
    same_spec_gives_the_same_bytes,
    a_saved_run_gives_equal_logits,
    new_classes_as_declared,
    prompts_cover_the_classes,
    the_record_is_complete,
)
TRAINED: tuple[Check, ...] = (
    every_trained_tensor_learns,
    frozen_tensors_stay,
    caching_changes_nothing,
    class_order_does_not_matter,
    a_resumed_run_equals_an_uninterrupted_one,
    the_loss_falls,
)
CHECKS: tuple[Check, ...] = ALWAYS + TRAINED


def check_strategy(kind: type[Strategy], folder: Path) -> None:
    """Run the whole contract for every inference type of a strategy.

    Args:
        kind: The strategy.
        folder: An empty folder for the tiny backbone and the runs.

    Raises:
        AssertionError: A promise is broken.
    """
    for inference, check in itertools.product(kind.types, checks_of(kind)):
        check(ContractCase(kind(type=inference), folder / inference, folder / "backbone"))


def trains(kind: type[Strategy]) -> bool:
    """Return whether a strategy makes optimizer steps."""
    return kind.recipe is not None and kind.recipe.length > 0


def checks_of(kind: type[Strategy]) -> tuple[Check, ...]:
    """Return the checks that apply to a strategy."""
    return CHECKS if trains(kind) else ALWAYS


def derived_cuts(strategy: Strategy, folder: Path) -> tuple[int, int | None]:
    """Return the (image, text) cuts of a strategy on the tiny backbone: pinned in tests."""
    subject = ContractCase(strategy, folder, folder / "backbone")
    head = subject.attached()
    cuts = find_cuts(head.model, head, head.classes)
    return cuts.image, cuts.text


class _Interrupt(Tracker):
    """Raises KeyboardInterrupt after a number of steps, as Ctrl-C would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def log(self, step: Step) -> None:
        """Interrupt at the chosen step."""
        if step.step == self.after:
            raise KeyboardInterrupt


class _Losses(Tracker):
    def __init__(self, losses: list[float]) -> None:
        self.losses = losses

    def log(self, step: Step) -> None:
        """Keep the loss."""
        self.losses.append(step.loss)


def _relabel(task: Task, order: list[int]) -> Task:
    """Return the task with class order[i] at place i."""
    place = {old: new for new, old in enumerate(order)}
    train = tuple(replace(e, label=place[e.label]) for e in task.train)
    return replace(task, classes=task.classes.select(order), train=train, val=(), test=())
