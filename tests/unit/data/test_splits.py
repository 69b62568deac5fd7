"""Which images are trained on: what folders say of the splits, in every layout."""

from __future__ import annotations

from pathlib import Path

import pytest

import fewtune
from fewtune.core.errors import ConfigError, DataError
from fewtune.core.splits import with_test_split
from fewtune.core.task import Task
from fewtune.data.file_names import splits_in
from fewtune.data.layouts import open_task
from fixtures import class_folders, flat_images, split_folders, write_jsonl


def sizes(task: Task) -> tuple[int, int, int]:
    return len(task.train), len(task.val), len(task.test)


@pytest.mark.parametrize("prefix", ["", "images/", "./", "cat/../"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_folders_in_the_paths_of_a_table_name_the_split(
    tmp_path: Path, suffix: str, prefix: str
) -> None:
    rows = [
        (f"{prefix}{split}/{name}.png", name)
        for split in ("train", "Validation", "test")
        for name in ("cat", "dog")
    ]
    (tmp_path / "cat").mkdir()
    flat_images(tmp_path, [path for path, _ in rows])
    table = tmp_path / f"labels.{suffix}"
    if suffix == "jsonl":
        write_jsonl(table, [{"file_name": path, "label": name} for path, name in rows])
    else:
        end = "," if suffix == "csv" else "\t"
        table.write_text("".join(f"{a}{end}{b}\n" for a, b in [("file_name", "label"), *rows]))
    assert sizes(open_task(table)) == (2, 2, 2)


def test_a_split_column_is_stronger_than_folders(tmp_path: Path) -> None:
    flat_images(tmp_path, ["train/1.png", "test/2.png", "test/3.png"])
    table = tmp_path / "labels.csv"
    table.write_text(
        "path,label,split\ntrain/1.png,a,train\ntest/2.png,b,train\ntest/3.png,a,test\n"
    )
    assert sizes(open_task(table)) == (2, 0, 1)
    table.write_text("path,label,split\ntrain/1.png,a,\ntest/2.png,b,train\ntest/3.png,a,\n")
    assert sizes(open_task(table)) == (2, 0, 1)


@pytest.mark.parametrize(
    ("rows", "splits"),
    [
        ({"train/1": "a", "test/2": "b"}, ["train", "test"]),
        ({"a/train/1": "a", "b/dev/2": "b"}, ["train", "val"]),
        ({"more/1": "a", "test/2": "b"}, ["", "test"]),
        ({"x/more/1": "a", "x/test/2": "b"}, ["", "test"]),
        ({"1": "a", "test/2": "b"}, ["", "test"]),
        ({"test/1": "a", "test/2": "b"}, ["test", "test"]),
        # A folder that is named as the label is a class.
        ({"train/1": "train", "bus/2": "bus"}, ["", ""]),
        ({"train/1": "Train", "test/2": "test"}, ["", ""]),
        ({"train/train/1": "train", "test/bus/2": "bus"}, ["train", "test"]),
        # Folders above the dataset say nothing.
        ({"/home/test/a/1": "a", "/home/test/b/2": "b"}, ["", ""]),
        ({"/d/train/a/1": "a", "/d/test/b/2": "b"}, ["train", "test"]),
        ({"../test/a/1": "a", "../test/b/2": "b"}, ["", ""]),
        ({"testing.d/1": "a", "my-test/2": "b"}, ["", ""]),
    ],
)
def test_what_paths_say(rows: dict[str, str], splits: list[str]) -> None:
    assert splits_in([*rows], [*rows.values()]) == splits
    reverse = splits_in([*rows][::-1], [*rows.values()][::-1])
    assert reverse == splits[::-1]


def test_a_table_of_test_images_has_nothing_to_train_on(tmp_path: Path) -> None:
    flat_images(tmp_path, ["test/1.png", "test/2.png"])
    (tmp_path / "labels.csv").write_text("path,label\ntest/1.png,a\ntest/2.png,b\n")
    task = open_task(tmp_path / "labels.csv")
    assert sizes(task) == (0, 0, 2)
    assert "no training images: a test set for what was trained on other images" in task.notes


def test_split_folders_within_each_class(tmp_path: Path) -> None:
    flat_images(tmp_path, [f"{c}/{s}/1.png" for c in ("cat", "dog") for s in ("train", "test")])
    task = open_task(tmp_path)
    assert sizes(task) == (2, 0, 2)
    assert task.notes == ("layout: class folders, each with split folders",)
    flat_images(tmp_path, ["emu/1.png"])
    task = open_task(tmp_path)
    assert sizes(task) == (5, 0, 0)
    assert any(
        "2 training images in folders of class folders such as test/" in n for n in task.notes
    )


@pytest.mark.parametrize(
    ("names", "match", "hint"),
    [
        (
            ["train/freight/1", "train/steam/1", "bus/1"],
            "'train' next to 'bus'",
            "--data .*/train'",
        ),
        (["test/a/1", "test/b/1", "bus/1", "car/1"], "'test' next to 'bus' and 'car'", "/train'"),
        (["bus/1", "car/1", "test/1"], "'test' next to 'bus' and 'car'", "mv .*test' .*tests'"),
        (["bus/1", "car/1", "Validation/1"], "'Validation' next to", "move the class folders into"),
        (["val/a/1", "val/b/1", "test/a/1", "a/1"], "'test' next to 'a'", "into '.*/train'"),
    ],
)
def test_a_folder_that_may_be_a_split_or_a_class_is_refused(
    tmp_path: Path, names: list[str], match: str, hint: str
) -> None:
    flat_images(tmp_path, [f"{name}.png" for name in names])
    with pytest.raises(DataError, match=match) as caught:
        open_task(tmp_path)
    assert caught.match(hint)


def test_what_lies_next_to_train_and_test_is_counted(tmp_path: Path) -> None:
    split_folders(tmp_path, train={"cat": 2, "dog": 2}, test={"cat": 1, "dog": 1})
    flat_images(tmp_path, ["raw/1.png", "raw/x/2.png", "cover.png", "train/loose.png"])
    (tmp_path / "docs").mkdir()
    task = open_task(tmp_path)
    assert sizes(task) == (4, 0, 2)
    assert task.notes[1:] == (
        "ignored 1 image in train/, outside class folders",
        "ignored 1 image in the folder itself, outside the splits",
        "ignored folders next to the splits: docs, raw (2 images)",
    )


def test_no_split_lies_unused(tmp_path: Path) -> None:
    pets = split_folders(tmp_path / "pets", train={"a": 5, "b": 5}, val={"a": 2, "b": 1})
    task = open_task(pets)
    divided = with_test_split(task)
    assert sizes(divided) == (10, 0, 3)
    assert divided.notes[-1] == (
        "no test split: the 3 validation images are the test images; nothing is chosen on them"
    )
    partly = split_folders(tmp_path / "partly", train={"a": 2, "b": 2}, val={"a": 2})
    assert with_test_split(open_task(partly)).notes[-1].endswith("; 1 class has none")
    asked = with_test_split(task, 0.4)
    assert sizes(asked) == (6, 3, 4)
    assert asked.notes[-1] == "own stratified test split (40% of each class)"


def test_a_share_that_nothing_is_set_aside_for_is_refused(tmp_path: Path) -> None:
    pets = {"a": 5, "b": 5}
    photos = split_folders(tmp_path / "photos", train=pets, test=pets)
    with pytest.raises(ConfigError, match="'photos' has a test split: test_share"):
        fewtune.fit(photos, "zero-shot", backbone="picto", test_share=0.3, runs=tmp_path / "runs")
    with pytest.raises(ConfigError, match="test_share must be a number above 0 and below 1"):
        fewtune.fit(photos, "zero-shot", test_share=1)


def test_a_split_folder_that_no_metadata_lists_is_counted(tmp_path: Path) -> None:
    flat_images(tmp_path, ["train/1.png", "train/2.png", "test/a/3.png"])
    (tmp_path / "train/metadata.csv").write_text("file_name,label\n1.png,a\n2.png,b\n")
    task = open_task(tmp_path)
    assert sizes(task) == (2, 0, 0)
    assert "ignored 1 image in test/, which no metadata file lists" in task.notes


def test_images_outside_class_folders_are_counted(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 1, "b": 1})
    flat_images(tmp_path, ["x.png", "y.jpg"])
    notes = open_task(tmp_path).notes
    assert "ignored 2 images in the folder itself, outside class folders" in notes
