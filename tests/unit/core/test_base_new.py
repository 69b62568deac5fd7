"""Base-to-new: halves of the classes, with the sizes of the papers."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.core.draws import few_shot
from fewtune.core.errors import DataError
from fewtune.core.task import ClassSet, Example, Task, base_new


def task_of(classes: int, test_images: int = 1, train_images: int = 20) -> Task:
    """Every class has as many images as any other."""
    names = tuple(f"c{label}" for label in range(classes))

    def rows(split: str, count: int) -> tuple[Example, ...]:
        places = ((label, i) for label in range(classes) for i in range(count))
        return tuple(Example(f"{split}/{x}/{i}", x, Path("x")) for x, i in places)

    return Task(
        "t",
        ClassSet(names, words=names),
        rows("train", train_images),
        test=rows("test", test_images),
    )


@pytest.mark.parametrize(
    ("classes", "of_each", "base", "new"),
    [(47, 36, (24, 864), (23, 828)), (397, 50, (199, 9950), (198, 9900))],
    ids=["DTD", "SUN397"],
)
def test_sizes_of_the_papers(
    classes: int, of_each: int, base: tuple[int, int], new: tuple[int, int]
) -> None:
    halves = base_new(task_of(classes, of_each))
    assert [(len(half.classes), len(half.test)) for half in halves] == [base, new]


def test_eurosat_whose_classes_differ_in_size() -> None:
    sizes = [900, 900, 900, 750, 750, 600, 750, 900, 750, 900]
    task = task_of(10)
    rows = (Example(f"{x}/{i}", x, Path("x")) for x, size in enumerate(sizes) for i in range(size))
    base, new = base_new(Task("eurosat", task.classes, task.train, test=tuple(rows)))
    assert (len(base.classes), len(base.test)) == (5, 4200)
    assert (len(new.classes), len(new.test)) == (5, 3900)


def test_halves_renumber_labels_and_keep_the_draw_of_all_classes() -> None:
    drawn = few_shot(task_of(5), 2, 0, "coop")
    base, new = base_new(drawn)
    assert base.classes.names == base.classes.words == ("c0", "c1", "c2")
    assert new.classes.names == ("c3", "c4")
    assert [e.label for e in new.train] == [0, 0, 1, 1]
    assert [e.key for e in (*base.train, *new.train)] == [e.key for e in drawn.train]
    assert (base.name, new.name) == ("t-base", "t-new")
    with pytest.raises(DataError, match="has 1 class"):
        base_new(task_of(3))
