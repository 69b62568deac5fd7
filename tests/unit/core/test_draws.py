"""Draws are pure, nested, and blind to the order of images and classes."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.core.draws import by_hash, few_shot
from fewtune.core.errors import ConfigError, DataError
from fewtune.core.splits import with_test_split
from fewtune.core.task import ClassSet, Example, Task

COUNTS = st.lists(st.integers(2, 12), min_size=2, max_size=4)
SEEDS = st.integers(0, 5)


def make_task(
    counts: list[int], order: list[int] | None = None, shuffle: int | None = None
) -> Task:
    """Class i of `order` has `counts[i]` images and stands at its place in `order`."""
    order = order or list(range(len(counts)))
    examples = [
        Example(f"{split}/c{i}/{n}.png", label, Path("x"), n)
        for split in ("train", "val")
        for label, i in enumerate(order)
        for n in range(counts[i])
    ]
    if shuffle is not None:
        random.Random(shuffle).shuffle(examples)
    return Task(
        "t",
        ClassSet(tuple(f"c{i}" for i in order)),
        train=tuple(e for e in examples if e.key.startswith("train")),
        val=tuple(e for e in examples if e.key.startswith("val")),
    )


def keys(examples: tuple[Example, ...]) -> set[str]:
    return {example.key for example in examples}


@given(counts=COUNTS, shots=st.integers(1, 8), seed=SEEDS, shuffle=SEEDS)
def test_few_shot_depends_on_nothing_but_its_arguments(
    counts: list[int], shots: int, seed: int, shuffle: int
) -> None:
    plain = few_shot(make_task(counts), shots, seed)
    assert plain == few_shot(make_task(counts, shuffle=shuffle), shots, seed)
    backwards = list(range(len(counts)))[::-1]
    other = few_shot(make_task(counts, order=backwards), shots, seed)
    assert keys(other.train) == keys(plain.train)
    assert keys(other.val) == keys(plain.val)
    assert Counter(e.label for e in plain.train) == {
        label: min(shots, count) for label, count in enumerate(counts)
    }
    assert Counter(e.label for e in plain.val) == {
        label: min(shots, 4, count) for label, count in enumerate(counts)
    }


@given(counts=COUNTS, seed=SEEDS)
def test_draws_are_nested_and_unmoved_by_a_new_class(counts: list[int], seed: int) -> None:
    draws = [keys(few_shot(make_task(counts), shots, seed).train) for shots in (1, 2, 4, 8)]
    assert all(small <= large for small, large in itertools.pairwise(draws))
    more = keys(few_shot(make_task([*counts, 5]), 2, seed).train)
    assert draws[1] == {key for key in more if f"/c{len(counts)}/" not in key}


@given(counts=COUNTS, shuffle=SEEDS)
def test_own_test_split_is_a_fifth_of_each_class_and_the_same_for_all(
    counts: list[int], shuffle: int
) -> None:
    task = replace(make_task(counts), val=())
    divided = with_test_split(task)
    assert keys(divided.train) | keys(divided.test) == keys(task.train)
    assert not keys(divided.train) & keys(divided.test)
    for label, count in enumerate(counts):
        held = sum(example.label == label for example in divided.test)
        assert held == max(1, round(count / 5))
        assert held < count
    shuffled = replace(make_task(counts, shuffle=shuffle), val=())
    assert keys(with_test_split(shuffled).test) == keys(divided.test)
    assert with_test_split(divided) is divided
    assert "own stratified test split (20% of each class)" in divided.notes


@given(counts=COUNTS, share=st.floats(0.001, 0.999))
def test_a_share_leaves_each_class_images_on_both_sides(counts: list[int], share: float) -> None:
    divided = with_test_split(make_task(counts), share)
    for label, count in enumerate(counts):
        held = sum(example.label == label for example in divided.test)
        assert held == min(max(1, round(share * count)), count - 1)


def test_seeds_and_splits_draw_differently() -> None:
    task = make_task([40, 40])
    first = keys(few_shot(task, 4, 0).train)
    assert first != keys(few_shot(task, 4, 1).train)
    assert by_hash(task.train, 4, 0, "train") != by_hash(task.train, 4, 0, "val")


def test_a_draw_is_what_it_was() -> None:
    """Pinned: a change here would silently change every result that names a seed."""
    drawn = by_hash(make_task([6, 6]).train, 2, 1, "train")
    assert [e.key for e in drawn] == [
        "train/c0/4.png",
        "train/c0/2.png",
        "train/c1/3.png",
        "train/c1/1.png",
    ]


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="at least 1, found 0"):
        few_shot(make_task([2, 2]), 0, 0)
    with pytest.raises(DataError, match=r"'c1' has 1 image;"):
        with_test_split(make_task([2, 1]), 0.2)
    task = make_task([2, 2])
    assert few_shot(task, None, 0) is task
