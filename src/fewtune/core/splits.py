"""Splits of a task: half of its classes, validation as test, a test split that is set aside."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fewtune.core.errors import ConfigError, DataError
from fewtune.core.naming import counted
from fewtune.core.task import Classes, Example, Split, Task, draw_order

HELD_SHARE = 0.2


def part_of(task: Task, classes: Classes = "all", scored_on: Split = "test") -> Task:
    """Return the part of a task that a run is asked for.

    Args:
        classes: All, or a half as of `base_new`.
        scored_on: With "val", the validation images take the place of the test images, which the
            part does not have.

    Raises:
        DataError: A half would have a single class, or there is nothing to validate on.
    """
    if scored_on == "val":
        task = _on_validation(task)
    return task if classes == "all" else base_new(task)[classes == "new"]


def base_new(task: Task) -> tuple[Task, Task]:
    """Return the task of the first half of the classes, in label order, and that of the others.

    As in CoOp, the first ceil(n / 2) classes are base, and labels start at 0 in each half, which
    does not know the other's classes. Shots are drawn from all classes (`Task.whole`).

    Raises:
        DataError: A half would have a single class.
    """
    middle = (len(task.classes) + 1) // 2
    base = _only(task, range(middle), "base")
    new = _only(task, range(middle, len(task.classes)), "new")
    new.require_two_classes()
    return base, new


def _only(task: Task, labels: range, half: str) -> Task:
    """Return the task of a run of labels, renumbered from 0."""

    def kept(examples: Iterable[Example]) -> tuple[Example, ...]:
        inside = (example for example in examples if example.label in labels)
        return tuple(replace(e, label=e.label - labels.start) for e in inside)

    return replace(
        task,
        name=f"{task.name}-{half}",
        classes=task.classes.select(labels),
        train=kept(task.train),
        val=kept(task.val),
        test=kept(task.test),
        notes=(*task.notes, f"{half} classes: {len(labels)} of {len(task.classes)}"),
        published=(),
        whole=task.whole or replace(task, test=()),
    )


def with_draw(task: Task, train: Iterable[Example], val: Iterable[Example]) -> Task:
    """Return a task with what was drawn from `whole`, or from itself if that is None."""
    if task.whole is not None:
        place = {name: label for label, name in enumerate(task.classes.names)}
        label_of = [place.get(name) for name in task.whole.classes.names]
        train, val = _relabelled(train, label_of), _relabelled(val, label_of)
    train, val = tuple(train), tuple(val)
    if task.scored_on == "val":
        return replace(task, train=train, test=val)
    return replace(task, train=train, val=val)


def _relabelled(examples: Iterable[Example], label_of: Sequence[int | None]) -> Iterator[Example]:
    for example in examples:
        label = label_of[example.label]
        if label is not None:
            yield replace(example, label=label)


def _on_validation(task: Task) -> Task:
    """Return the task whose test images are the validation images, and which has no others.

    Without validation images, a fifth of each class' training images takes their place.
    """
    if not task.val:
        task = _set_aside(task, "val")
    return replace(
        task,
        name=f"{task.name}-val",
        val=(),
        test=task.val,
        notes=(*task.notes, "scored on validation images"),
        whole=replace(task, test=()),
        scored_on="val",
    )


def with_test_split(task: Task, share: float | None = None) -> Task:
    """Return a task that has a test split.

    Without test images, the validation images take their place, and without those a share of each
    class is set aside. The choice depends on the keys alone, never on a run's seed, so all runs
    share one test split.

    Args:
        share: Of each class' training images, to set aside also where there are validation images,
            which then stay validation; None for a fifth where there are none.

    Raises:
        ConfigError: A share is asked for, but there is a test split.
        DataError: A class has a single image, which cannot be in both splits.
    """
    if task.test and share is not None:
        raise ConfigError(
            f"'{task.name}' has a test split: --test-share has nothing to set aside.",
            hint="Leave out --test-share.",
        )
    if task.test:
        return task
    if share is not None or not task.val:
        return _set_aside(task, "test", share or HELD_SHARE)
    number = counted(len(task.val), "validation image")
    note = f"no test split: the {number} are the test images; nothing is chosen on them"
    missing = len(task.classes) - len({example.label for example in task.val})
    if missing:
        note += f"; {counted(missing, 'class has', 'classes have')} none"
    return replace(task, val=(), test=task.val, notes=(*task.notes, note))


def final_task(task: Task, *, with_val: bool) -> Task:
    """Return the task of a final model: its test images are trained on, so it has none.

    Args:
        with_val: Train on the validation images too; else they stay what settings are chosen on.
    """
    train = (*task.train, *(task.val if with_val else ()), *task.test)
    return replace(
        task,
        name=f"{task.name}-final",
        train=train,
        val=() if with_val else task.val,
        test=(),
        notes=(*task.notes, f"final: trained on all {counted(len(train), 'image')}"),
        published=(),
        whole=None,
    )


def _set_aside(task: Task, split: Split, share: float = HELD_SHARE) -> Task:
    counts = Counter(example.label for example in task.train)
    for label, name in enumerate(task.classes.names):
        if counts[label] < 2:
            raise DataError(
                f"Class {name!r} has {counted(counts[label], 'image')}; without a {split} split "
                "every class needs at least 2.",
                hint=f"Add images, or provide DIR/train and DIR/{split} folders.",
            )
    left = {label: min(max(1, round(share * n)), n - 1) for label, n in counts.items()}
    held: set[str] = set()
    for example in draw_order(task.train, 0, split):
        if left[example.label]:
            left[example.label] -= 1
            held.add(example.key)
    kind = "validation" if split == "val" else "test"
    note = f"own stratified {kind} split ({100 * share:.3g}% of each class)"
    taken = tuple(e for e in task.train if e.key in held)
    return replace(
        task,
        train=tuple(e for e in task.train if e.key not in held),
        val=taken if split == "val" else task.val,
        test=taken if split == "test" else task.test,
        notes=(*task.notes, note),
    )
