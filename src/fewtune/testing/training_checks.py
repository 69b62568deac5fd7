"""Training of a strategy: what learns, what stays, and what must not change the result."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fewtune.core.task import Task
from fewtune.model.strategy import Strategy
from fewtune.testing.contract_case import (
    ContractCase,
    difference,
    scores_of,
    some,
)
from fewtune.testing.tiny import tiny_task
from fewtune.training.loop import Training

TOLERANCE = 1e-5


def every_trained_tensor_learns(case: ContractCase) -> None:
    """Within three steps of its phase each trained tensor gets a gradient that is not zero."""
    for training in _phases(case):
        seen: set[str] = set()
        for step in range(3):
            training.step(step)
            for name, parameter in training.head.trainable():
                if parameter.grad is not None and bool(parameter.grad.any()):
                    seen.add(name)
        idle = {name for name, _ in training.head.trainable()} - seen
        assert not idle, (
            "every trained tensor must get a gradient within three steps, but these got none or "
            f"only zeros: {some(idle)}. Freeze what is not used"
        )


def frozen_tensors_stay(case: ContractCase) -> None:
    """Training leaves every other tensor of the backbone bit-equal, and `original` restores all."""
    model = case.trained(tiny_task().support()).model
    before = dict(case.model().net.named_parameters())
    tuned = set(model.tuned())
    after = dict(model.net.named_parameters())
    kept = before.keys() & after.keys() - tuned
    moved = {name for name in kept if not torch.equal(after[name], before[name])}
    assert not moved, f"training must leave frozen tensors as they are, but it moved {some(moved)}"
    # Scoring merges what it can, also within `original`.
    with model.original(), model.original(), model.merged():
        restored = dict(model.net.named_parameters())
        stray = restored.keys() ^ before.keys()
        assert not stray, (
            "within `model.original()` the backbone must have its own parameters, but these were "
            f"added or are missing: {some(stray)}"
        )
        moved = {name for name in before if not torch.equal(restored[name], before[name])}
        assert not moved, (
            "within `model.original()` every tensor must have its first value, but these differ: "
            f"{some(moved)}. Change tensors through `unfreeze` or `inject`"
        )


def caching_changes_nothing(case: ContractCase) -> None:
    """Activations kept at the cut give the same training as streaming."""
    cached, streamed = (
        case.trained(tiny_task().support(), cache=cache).head.saved() for cache in (True, False)
    )
    for name in cached:
        assert torch.allclose(cached[name], streamed[name], atol=TOLERANCE), (
            f"training from cached activations must give the same {name} as without a cache, but "
            f"they differ by {difference(cached[name], streamed[name]):.2g} (allowed: {TOLERANCE})"
        )


def pieces_change_nothing(case: ContractCase) -> None:
    """Micro-batches and chunks of prompts give the gradients of the whole batch, dropout on."""
    for training in _phases(_with_dropout(case, 0.25), batch_size=12):
        whole = _gradients(training)
        training.use_plan(training.plan.model_copy(update={"micro_batch": 5, "text_chunk": 2}))
        pieces = _gradients(training)
        largest = max(float(gradient.abs().max()) for gradient in whole.values())
        for name, gradient in whole.items():
            found = difference(gradient, pieces[name])
            allowed = 1e-3 * float(gradient.abs().max()) + 1e-5 * largest
            assert found <= allowed, (
                "a batch of 12 images must have the same gradients in micro-batches of 5 and with "
                f"two prompts at a time, but that of {name} differs by {found:.2g} (allowed: "
                f"{allowed:.2g}). Use fewtune.model.dropout, whose masks belong to the rows; no "
                "row may see another; a loss that compares images needs divisible = False"
            )


def class_order_does_not_matter(case: ContractCase) -> None:
    """Renumbering the classes permutes the columns of the scores and changes nothing else.

    Dropout is off: its masks follow the rows of a batch.
    """
    case = _with_dropout(case, 0.0)
    task = tiny_task()
    order = [2, 0, 1]
    supports = (task.support(), _relabel(task, order).support())
    first, moved = (scores_of(case.trained(support).head, task.test) for support in supports)
    assert torch.allclose(first[:, order], moved, atol=1e-3), (
        "with renumbered classes the same scores must come out in other columns, but they differ "
        f"by {difference(first[:, order], moved):.2g} (allowed: 1e-3)"
    )


def the_loss_falls(case: ContractCase) -> None:
    """Twenty-four steps of a phase on one fixed batch lower the loss."""
    fixed = {"length": 24, "length_unit": "steps", "crop_scale": None, "batch_size": 16}
    for training in _phases(case, **fixed, warmup=0, schedule="constant"):
        losses = [training.step(step)[0] for step in range(24)]
        first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
        assert last < first, (
            f"24 steps on one batch with lr {training.recipe.lr:g} must lower the loss, but its "
            f"mean over five steps went from {first:.4g} to {last:.4g}"
        )


def a_closed_form_fits(case: ContractCase) -> None:
    """A recipe without steps fits its tensors to the training images in one go."""
    untrained = {name: value.clone() for name, value in case.attached().saved().items()}
    fitted = case.trained(tiny_task().support()).head.saved()
    assert any(not torch.equal(fitted[name], value) for name, value in untrained.items()), (
        "a recipe of length 0 makes no step, so `prepare` must fill tensors that are saved, but it "
        f"left all of them as `attach` made them: {some(untrained) or 'there are none'}"
    )


def _phases(case: ContractCase, **recipe: Any) -> Iterator[Training]:
    """Yield each phase, ready to run, with these changes of its recipe."""
    for index, phase in enumerate(case.phases):
        if phase.recipe.length:
            yield case.training(tiny_task().support(), phase=index, **recipe)


def _gradients(training: Training) -> dict[str, Tensor]:
    """Return the gradients of the first step."""
    training.gradients(0)
    found = {name: p.grad for name, p in training.head.trainable() if p.grad is not None}
    training.optimizer.zero_grad()
    return found


def _with_dropout(case: ContractCase, p: float) -> ContractCase:
    """Return the strategy with a probability in each field whose name speaks of dropout."""
    fields = type(case.strategy).model_fields
    update = {name: p for name in fields if "dropout" in name and fields[name].annotation is float}
    strategy: Strategy = case.strategy.model_copy(update=update)
    return replace(case, strategy=strategy)


def _relabel(task: Task, order: list[int]) -> Task:
    """Return the task with class order[i] at place i."""
    place = {old: new for new, old in enumerate(order)}
    train = tuple(replace(e, label=place[e.label]) for e in task.train)
    return replace(task, classes=task.classes.select(order), train=train, val=(), test=())
