"""Base-to-new: halves of the classes, with the sizes of the papers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fewtune.core.draws import Draw, drawn_digest, few_shot
from fewtune.core.errors import DataError
from fewtune.core.splits import base_new, part_of
from fewtune.core.task import ClassSet, Example, Task


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


@pytest.mark.parametrize("draw", ["fewtune", "coop", "clip-lora"])
def test_half_of_the_classes_gets_the_draw_of_all(draw: Draw) -> None:
    task = task_of(6)
    whole = few_shot(task, 3, 1, draw)
    base, new = part_of(task, "base"), part_of(task, "new")
    assert len({t.name for t in (task, base, new)}) == 3
    assert len({t.fingerprint() for t in (task, base, new)}) == 3
    keys = {half.name: [e.key for e in few_shot(half, 3, 1, draw).train] for half in (base, new)}
    assert [*keys["t-base"], *keys["t-new"]] == [e.key for e in whole.train]
    assert len(base.train) == len(new.train) == 3 * 20


def test_what_is_scored_on_validation_images_has_no_test_images() -> None:
    task = replace(task_of(4), val=tuple(Example(f"val/{i}", i % 4, Path("x")) for i in range(40)))
    part = part_of(task, "new", "val")
    assert (part.name, part.scored_on, part.val) == ("t-val-new", "val", ())
    assert {e.key.partition("/")[0] for e in (*part.train, *part.test)} == {"train", "val"}
    assert part.whole is not None
    assert part.whole.test == ()
    drawn = few_shot(part, 2, 0, "coop")
    of_all = few_shot(task, 2, 0, "coop")
    assert [e.key for e in drawn.test] == [e.key for e in of_all.val if e.label > 1]
    assert [e.label for e in drawn.test] == [0, 0, 1, 1]
    assert drawn_digest(part, 2, 0, "coop") != drawn_digest(part, 2, 1, "coop")


def test_without_validation_images_a_fifth_is_set_aside() -> None:
    task = task_of(3, train_images=10)
    part = part_of(task, scored_on="val")
    assert (len(part.train), len(part.test)) == (24, 6)
    assert {e.key for e in (*part.train, *part.test)} == {e.key for e in task.train}
    assert "own stratified validation split (20% of each class)" in part.notes
    with pytest.raises(DataError, match="without a val split every class needs at least 2"):
        part_of(task_of(3, train_images=1), scored_on="val")
