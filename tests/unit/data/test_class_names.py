"""What classes are called: names from classnames.txt, words in prompts, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewtune.core.errors import DataError
from fewtune.core.task import ClassSet, Task
from fewtune.data.arrays import class_names, content_digest
from fewtune.data.findings import name_findings
from fewtune.data.layouts import open_task
from fewtune.data.prompt_words import prompt_words, refuse_same_prompts, without_words
from fixtures import class_folders, flat_images, split_folders


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("cat", "great_dane", "T-shirt", "iPhone", "McDonald", "BMW"), ()),
        (("n03147509_cup", "dog"), ("cup", "dog")),
        (("n02085620-Chihuahua", "n02086240-Shih-Tzu"), ("Chihuahua", "Shih-Tzu")),
        (("n03147509", "dog"), ()),
        (("n02012849_crane", "n03126707_crane", "n1_x"), ()),
        (("AnnualCrop", "SeaLake"), ("Annual Crop", "Sea Lake")),
        (("001.Black_footed_Albatross", "002.Laysan"), ("Black_footed_Albatross", "Laysan")),
        (("1 cat", "2 dog", "3 emu"), ("cat", "dog", "emu")),
        (("10_euro", "50_cent"), ()),
        (("3_series", "5_series"), ()),
        (("1_cat", "dog"), ()),
        (("0", "1"), ()),
        (("GoldFish", "gold_fish"), ()),
    ],
)
def test_words_for_prompts(names: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert prompt_words(names) == words


def test_words_stand_in_prompts_and_names_stay(tmp_path: Path) -> None:
    task = open_task(class_folders(tmp_path, {"n03147509_cup": 1, "SeaLake": 1}))
    assert task.classes.names == ("SeaLake", "n03147509_cup")
    assert task.classes.texts(0) == ("a photo of a Sea Lake.",)
    assert task.classes.texts(1) == ("a photo of a cup.",)


def test_fingerprints_of_plain_names_are_those_of_the_names(tmp_path: Path) -> None:
    task = open_task(class_folders(tmp_path / "x", {"cat": 1, "great_dane": 1}))
    plain = Task(task.name, ClassSet(("cat", "great_dane")), task.train)
    assert task.fingerprint() == plain.fingerprint()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("cat", "A", "B"), ()),
        (("0", "1", "cat"), ("0", "1")),
        (("n03147509", "cat"), ("n03147509",)),
        (("c0", "c1", "c2"), ("c0", "c1", "c2")),
        (("class_1", "Class 2"), ("class_1", "Class 2")),
        (("ferrari_458", "bmw_3"), ()),
        (("1.5", "dog"), ("1.5",)),
    ],
)
def test_names_without_words(names: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert without_words(ClassSet(names)) == found


def test_underscores_leave_no_spaces_in_prompts() -> None:
    classes = ClassSet(("__init__", "a__b", "cat"))
    prompts = tuple(classes.texts(label)[0] for label in range(3))
    assert prompts == ("a photo of a init.", "a photo of a a b.", "a photo of a cat.")
    assert without_words(ClassSet(("__", "cat"))) == ("__",)


def test_described_classes_need_no_words() -> None:
    assert without_words(ClassSet(("0", "1"), descriptions=(("a cat.",), ()))) == ("1",)


def in_table(root: Path, labels: tuple[str, str]) -> Path:
    flat_images(root, ["1.png", "2.png"])
    (root / "labels.csv").write_text(f"path,label\n1.png,{labels[0]}\n2.png,{labels[1]}\n")
    return root / "labels.csv"


def in_metadata(root: Path, labels: tuple[str, str]) -> Path:
    in_table(root, labels).rename(root / "metadata.csv")
    return root


def in_folders(root: Path, labels: tuple[str, str]) -> Path:
    return class_folders(root, dict.fromkeys(labels, 1))


def in_splits(root: Path, labels: tuple[str, str]) -> Path:
    return split_folders(root, train=dict.fromkeys(labels, 1), test={labels[1]: 1})


def in_split_file(root: Path, labels: tuple[str, str]) -> Path:
    flat_images(root, ["1.png", "2.png"])
    rows = [["1.png", 0, labels[0]], ["2.png", 1, labels[1]]]
    (root / "split_x.json").write_text(json.dumps({"train": rows}))
    return root


Writer = Callable[[Path, tuple[str, str]], Path]
LAYOUTS: list[Writer] = [in_table, in_metadata, in_folders, in_splits, in_split_file]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_with_the_same_prompt_are_refused(tmp_path: Path, layout: Writer) -> None:
    place = layout(tmp_path, ("Big_bag", "big bag"))
    with pytest.raises(DataError, match="'Big_bag' and 'big bag' have the same prompt") as caught:
        open_task(place)
    assert "classnames.txt" in caught.value.hint
    (tmp_path / "classnames.txt").write_text("big bag,backpack\nBig_bag,handbag\n")
    assert set(open_task(place).classes.names) == {"backpack", "handbag"}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("labels", [("0", "1"), ("1", "2"), ("a", "b")])
@pytest.mark.parametrize("pairs", [False, True])
def test_classnames_in_every_layout(
    tmp_path: Path, layout: Writer, labels: tuple[str, str], pairs: bool
) -> None:
    place = layout(tmp_path, labels)
    lines = ["heart", "star"]
    if pairs:
        lines = [f"{labels[1]}\tstar", f"{labels[0]}\theart", "7\tmoon"]
    (tmp_path / "classnames.txt").write_text("\n".join(lines) + "\n")
    task = open_task(place)
    assert task.classes.names == ("heart", "star")
    assert [task.classes.names[e.label] for e in task.train] == ["heart", "star"]
    note = f"names from classnames.txt: {labels[0]} = heart, {labels[1]} = star"
    assert note in task.notes
    assert not list(name_findings(task))


def test_classnames_that_repeat_the_names_change_nothing(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"cat": 1, "dog": 1})
    before = open_task(root).fingerprint()
    (root / "classnames.txt").write_text("dog\nCat\nemu\n")
    task = open_task(root)
    assert task.fingerprint() == before
    assert "classnames.txt lists the names that the classes have" in task.notes


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("one\n", "has 1 name, but there are 2 classes: cat, dog"),
        ("one\ntwo\nthree\n", "has 3 names, but there are 2 classes"),
        ("cat,one\nemu,two\n", "no name for label 'dog'.*dog<TAB>name"),
        ("same\nsame\n", "gives the name 'same' to two classes"),
        ("cat\tx\ndog\tx\n", "gives the name 'x' to two classes"),
    ],
)
def test_wrong_classnames(tmp_path: Path, text: str, match: str) -> None:
    root = class_folders(tmp_path, {"cat": 1, "dog": 1})
    (root / "classnames.txt").write_text(text)
    with pytest.raises(DataError, match=match):
        open_task(root)


@pytest.mark.parametrize("labels", [("0.0", "1.0"), ("0", "1.0"), ("0.", "1")])
def test_whole_floats_are_labels(tmp_path: Path, labels: tuple[str, str]) -> None:
    place = in_table(tmp_path, labels)
    task = open_task(place)
    assert task.classes.names == ("0", "1")
    assert any("1.0 is read as 1" in note for note in task.notes)
    (tmp_path / "classnames.txt").write_text("heart\nstar\n")
    assert open_task(place).classes.names == ("heart", "star")


def test_other_numbers_stay_names_and_negative_ones_are_refused(tmp_path: Path) -> None:
    assert open_task(in_table(tmp_path, ("1.5", "2.0"))).classes.names == ("1.5", "2.0")
    with pytest.raises(DataError, match=r"label -1\.0, but labels start at 0"):
        open_task(in_table(tmp_path, ("-1.0", "2.0")))
    (tmp_path / "l.jsonl").write_text('{"path":"1.png","label":0.0}\n{"path":"2.png","label":1}\n')
    assert open_task(tmp_path / "l.jsonl").classes.names == ("0", "1")


def test_descriptions_tell_classes_apart() -> None:
    classes = ClassSet(("bag", "Bag"), descriptions=(("a handbag.",), ()))
    refuse_same_prompts(classes)


def test_names_in_memory_are_held_to_the_same() -> None:
    with pytest.raises(DataError, match="same prompt"):
        class_names(np.array(["Bag", "bag"]), None)
    with pytest.raises(DataError, match="same prompt"):
        class_names(np.array([0, 1]), {0: "sea_lake", 1: "Sea lake"})
    assert class_names(np.array([0, 1]), ["a", "b"]) == ("a", "b")


def test_a_pipe_is_no_image(tmp_path: Path) -> None:

    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="no regular file"):
        content_digest(tmp_path / "pipe.png")
