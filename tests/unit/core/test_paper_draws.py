"""The papers' draws, against their random calls written out by hand."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from fewtune.core.draws import Draw, drawn_digest, few_shot
from fewtune.core.errors import ConfigError
from fewtune.core.task import ClassSet, Example, PublishedDraw, Task

SHOTS, SEED = 5, 3
TRAIN = {2: 9, 0: 3, 1: 5}  # labels in the order in which they first appear; 0 is too small
VAL = {1: 6, 2: 2, 0: 4}


def rows(split: str, sizes: dict[int, int]) -> tuple[Example, ...]:
    return tuple(
        Example(f"{split}/{label}/{i}", label, Path("x"))
        for label, size in sizes.items()
        for i in range(size)
    )


TASK = Task("t", ClassSet(("a", "b", "c")), rows("train", TRAIN), rows("val", VAL))


def keys(examples: tuple[Example, ...]) -> list[str]:
    return [example.key for example in examples]


def of(split: str, label: int, size: int) -> list[str]:
    return [f"{split}/{label}/{i}" for i in range(size)]


def test_coop_draws_training_images_first_and_takes_all_of_a_small_class() -> None:
    stream = random.Random(SEED)
    train = [*stream.sample(of("train", 2, 9), 5), *of("train", 0, 3)]
    train += stream.sample(of("train", 1, 5), 5)
    val = [*stream.sample(of("val", 1, 6), 4), *of("val", 2, 2), *stream.sample(of("val", 0, 4), 4)]
    drawn = few_shot(TASK, SHOTS, SEED, "coop")
    assert (keys(drawn.train), keys(drawn.val)) == (train, val)


def test_clip_lora_draws_validation_images_first_and_repeats_those_of_a_small_class() -> None:
    stream = random.Random(SEED)
    val = stream.sample(of("val", 1, 6), 4) + stream.choices(of("val", 2, 2), k=4)
    val += stream.sample(of("val", 0, 4), 4)
    train = stream.sample(of("train", 2, 9), 5) + stream.choices(of("train", 0, 3), k=5)
    train += stream.sample(of("train", 1, 5), 5)
    drawn = few_shot(TASK, SHOTS, SEED, "clip-lora")
    assert (keys(drawn.train), keys(drawn.val)) == (train, val)
    assert drawn.support().classes.counts == (5, 5, 5)


def test_clip_lora_draws_both_in_one_sample_where_there_is_no_validation_split() -> None:
    stream = random.Random(SEED)
    two, one = stream.sample(of("train", 2, 9), 4), stream.sample(of("train", 0, 3), 2)
    three = stream.sample(of("train", 1, 5), 4)
    drawn = few_shot(replace(TASK, val=()), 2, SEED, "clip-lora")
    assert keys(drawn.train) == [*two[:2], *one, *three[:2]]
    assert keys(drawn.val) == [*two[2:], *three[2:]]


def test_published_lists_are_taken_as_they_stand() -> None:
    lists = (
        PublishedDraw(1, 0, ("train/1/4", "train/0/2", "train/0/2"), ("val/2/1",)),
        PublishedDraw(1, 1, ("train/1/0",)),
    )
    task = replace(TASK, published=lists)
    drawn = few_shot(task, 1, 0, "published")
    assert (keys(drawn.train), keys(drawn.val)) == (list(lists[0].train), ["val/2/1"])
    assert few_shot(task, 1, 1, "published").val == TASK.val
    with pytest.raises(ConfigError, match="of 1 shots with seeds 0, 1"):
        few_shot(task, 2, 0, "published")
    with pytest.raises(ConfigError, match="No few-shot lists come with 't'"):
        few_shot(TASK, 1, 0, "published")
    with pytest.raises(ConfigError, match="'train/1/4', which is not among"):
        few_shot(replace(task, train=TASK.train[:5]), 1, 0, "published")


@pytest.mark.parametrize("draw", ["coop", "clip-lora"])
def test_what_depends_on_the_order_of_rows_is_named_by_what_it_drew(draw: Draw) -> None:
    turned = replace(TASK, train=TASK.train[::-1])
    assert turned.fingerprint() == TASK.fingerprint()
    digests = {drawn_digest(task, SHOTS, SEED, draw) for task in (TASK, turned)}
    assert len(digests) == 2
    assert drawn_digest(TASK, SHOTS, SEED, "fewtune") == drawn_digest(TASK, None, 0, draw) == ""
    assert few_shot(TASK, None, SEED, draw) is TASK


def test_an_unknown_draw_meets_the_closest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'coop'"):
        few_shot(TASK, 1, 0, "coopp")  # type: ignore[arg-type]
