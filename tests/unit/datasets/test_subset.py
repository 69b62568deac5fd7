"""The draw of VTAB's 1,000 where the official lists are missing."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from fewtune.data.label_table import LabelledRow
from fewtune.datasets.vtab_slices import take_subset


def rows_of(split: str, **sizes: int) -> list[LabelledRow]:
    return [
        LabelledRow(split, f"{split}/{name}/{i}", name, Path("x"))
        for name, size in sizes.items()
        for i in range(size)
    ]


TRAIN = rows_of("train", common=2900, rare=97, single=3)
TEST = rows_of("test", common=2)


def test_draws_are_stratified_and_leave_the_test_split_alone() -> None:
    taken, notes = take_subset([*TRAIN, *TEST], "800")
    counts = Counter((row.split, row.class_name) for row in taken)
    assert counts["train", "common"] + counts["val", "common"] == 966
    assert counts["train", "rare"] + counts["val", "rare"] == 33
    assert counts["train", "single"] == 1
    assert Counter(row.split for row in taken) == {"train": 800, "val": 200, "test": 2}
    assert [row for row in taken if row.split == "test"] == TEST
    assert notes == (
        "own stratified draw of 800 + 200 training images; the official lists are not in this form",
    )


def test_the_thousand_are_the_eight_hundred_and_their_validation_images() -> None:
    rows = [*TRAIN, *rows_of("val", common=300, rare=10), *TEST]
    two, _ = take_subset(rows, "800")
    one, _ = take_subset(rows, "1000")
    assert {row.key for row in one} == {row.key for row in two}
    assert Counter(row.split for row in one) == {"train": 1000, "test": 2}
    assert {row.key.split("/")[0] for row in two if row.split == "val"} == {"val"}


def test_a_draw_depends_on_keys_alone_and_small_sets_keep_the_ratio() -> None:
    rows = rows_of("train", a=30, b=20)
    drawn, _ = take_subset(rows, "800")
    assert take_subset(rows[::-1], "800")[0] == drawn
    assert Counter(row.split for row in drawn) == {"train": 40, "val": 10}
    assert take_subset(rows, "full") == (tuple(rows), ())
    moved = [replace(row, key=f"elsewhere/{row.key}") for row in rows]
    assert [r.key for r in take_subset(moved, "800")[0]] != [f"elsewhere/{r.key}" for r in drawn]
