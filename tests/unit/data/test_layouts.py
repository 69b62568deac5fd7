"""Folders of every layout become the task that a person sees in them, or a clear error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

import fewtune
from fewtune.core.errors import ConfigError, DataError
from fewtune.core.task import Example, Task
from fewtune.data.findings import name_findings
from fewtune.data.layouts import open_task
from fixtures import class_folders, flat_images, list_folder, split_folders, write_image


def keys(examples: tuple[Example, ...]) -> list[str]:
    return [example.key for example in examples]


def by_class(task: Task, split: str = "train") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in task.classes.names}
    for example in task.splits()[split]:
        found[task.classes.names[example.label]].append(example.key)
    return found


def test_class_folders(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"dog": 2, "cat": 1, "great_dane": 1})
    task = open_task(root)
    assert task.name == "pets"
    assert task.classes.names == ("cat", "dog", "great_dane")
    assert task.classes.texts(2) == ("a photo of a great dane.",)
    assert by_class(task)["dog"] == ["dog/00.png", "dog/01.png"]
    assert task.notes == ("layout: class folders",)
    first = task.train[0]
    assert first.source == root / "cat/00.png"
    assert first.size_bytes == (root / "cat/00.png").stat().st_size > 0


def test_same_folder_by_another_path_is_the_same_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_folders(tmp_path / "pets", {"dog": 2, "cat": 1})
    monkeypatch.chdir(tmp_path)
    relative = open_task("pets")
    assert relative.fingerprint() == open_task(tmp_path / "pets").fingerprint()
    monkeypatch.chdir("/")
    assert isinstance(relative.train[0].source, Path)
    assert relative.train[0].source.exists()


def test_nested_class_folders_and_any_suffix_case(tmp_path: Path) -> None:
    flat_images(tmp_path, ["cat/old/a.JPG", "cat/b.Png", "dog/1/2/c.webp"])
    assert by_class(open_task(tmp_path)) == {
        "cat": ["cat/b.Png", "cat/old/a.JPG"],
        "dog": ["dog/1/2/c.webp"],
    }


def test_hidden_entries_are_skipped_and_other_files_counted(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 1, "dog": 1})
    write_image(tmp_path / ".cache/x/a.png")
    write_image(tmp_path / "cat/.thumb.png")
    (tmp_path / "cat/.DS_Store").write_bytes(b"x")
    (tmp_path / "cat/notes.txt").write_text("x")
    (tmp_path / "dog/a.txt").write_text("x")
    (tmp_path / "dog/Makefile").write_text("x")
    task = open_task(tmp_path)
    assert len(task.train) == 2
    assert task.notes[1:] == (
        "ignored 3 files of other kinds (.txt 2, no suffix 1)",
        "ignored 1 hidden or system folder (.cache 1)",
        "ignored 1 hidden image",
    )


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders(tmp_path: Path, val: str) -> None:
    counts = {"cat": 2, "dog": 1}
    split_folders(tmp_path, **{"train": counts, val: counts, "test": {"cat": 1, "dog": 3}})
    (tmp_path / "docs").mkdir()
    task = open_task(tmp_path, name="mine")
    assert task.name == "mine"
    assert keys(task.train) == ["train/cat/00.png", "train/cat/01.png", "train/dog/00.png"]
    assert len(task.val) == 3
    assert by_class(task, "test")["dog"][0] == "test/dog/00.png"
    assert task.notes == ("layout: split folders", "ignored folders next to the splits: docs")


def test_split_folders_without_test(tmp_path: Path) -> None:
    task = open_task(split_folders(tmp_path, train={"cat": 1, "dog": 1}))
    assert (len(task.train), task.val, task.test) == (2, (), ())


def test_a_class_called_train(tmp_path: Path) -> None:
    task = open_task(class_folders(tmp_path, {"train": 2, "bus": 2}))
    assert task.classes.names == ("bus", "train")
    assert task.notes == ("layout: class folders",)


def test_unlabelled_test_images_are_passed_over_and_counted(tmp_path: Path) -> None:
    split_folders(tmp_path, train={"cat": 1, "dog": 1})
    flat_images(tmp_path / "test", ["1.png", "2.png"])
    task = open_task(tmp_path)
    assert task.test == ()
    assert "ignored 2 images in test/, outside class folders" in task.notes


@pytest.mark.parametrize(
    ("names", "match", "hint"),
    [
        (["wrap/cat/1.png", "wrap/dog/1.png"], "one folder of folders", r"--data '.*wrap'"),
        (["1.png", "2.png"], "images, but no class folders", "DIR/cat/1.jpg"),
        (["train/1.png", "test/2.png"], "no class folders in them", "DIR/train/CLASS"),
        (
            ["train/cat/1.png", "train/dog/1.png", "test/Dog/1.png"],
            "'Dog'.*none in the train",
            "dog",
        ),
        (["val/a/1.png", "validation/a/1.png", "train/a/1.png"], "two val folders", "Merge"),
        (
            ["a/train/x/1.png", "a/train/y/1.png", "b/train/x/1.png"],
            "holds datasets: 'a', 'b'",
            r"--data '.*/a'",
        ),
    ],
)
def test_wrong_folders(tmp_path: Path, names: list[str], match: str, hint: str) -> None:
    flat_images(tmp_path / "root", names)
    with pytest.raises(DataError, match=match) as caught:
        open_task(tmp_path / "root")
    assert re.search(hint, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_class_folder_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 1, "dog": 1, "emu": 0})
    with pytest.raises(DataError, match="emu' holds no images"):
        open_task(tmp_path)
    (tmp_path / "emu/list.txt").write_text("x")
    with pytest.raises(DataError, match=r"emu' holds no images .*\.txt 1"):
        open_task(tmp_path)


def test_empty_folder_and_lone_file(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no class folders"):
        open_task(tmp_path / "empty")
    with pytest.raises(DataError, match="is a file"):
        open_task(write_image(tmp_path / "a.png"))


@pytest.mark.parametrize(
    ("names", "splits"), [(["cat/1.png"], (1, 0, 0)), (["test/cat/1.png"], (0, 0, 1))]
)
def test_images_of_one_class_can_be_measured_on(
    tmp_path: Path, names: list[str], splits: tuple[int, ...]
) -> None:
    flat_images(tmp_path, names)
    task = open_task(tmp_path)
    assert task.classes.names == ("cat",)
    assert tuple(map(len, task.splits().values())) == splits
    with pytest.raises(DataError, match=r"has 1 class; .* at least 2"):
        task.require_two_classes()


def test_images_with_a_table_beside_them_point_to_it(tmp_path: Path) -> None:
    flat_images(tmp_path, ["images/1.png", "images/2.png"])
    (tmp_path / "labels.csv").write_text("path,label\nimages/1.png,a\nimages/2.png,b\n")
    with pytest.raises(DataError, match=r"has 1 class.*data '.*labels\.csv'"):
        fewtune.fit(tmp_path, "linear-probe", backbone="picto", runs=tmp_path / "runs")


def test_missing_location_names_a_neighbour(tmp_path: Path) -> None:
    class_folders(tmp_path / "flowers", {"a": 1})
    with pytest.raises(DataError, match=r"does not exist.*Did you mean 'flowers'"):
        open_task(tmp_path / "flowres")
    with pytest.raises(DataError, match="does not exist"):
        open_task(tmp_path / "nowhere/at/all")
    with pytest.raises(DataError, match="Cannot read"):
        open_task("a\0b")
    with pytest.raises(DataError, match="Cannot read"):
        open_task("x" * 5000)
    with pytest.raises(DataError, match="home"):
        open_task("~no-such-user-here/images")


def test_close_match_among_many_neighbours(tmp_path: Path) -> None:
    for index in range(29):
        (tmp_path / f"a{index:02d}").mkdir()
    (tmp_path / "zebras").mkdir()
    with pytest.raises(DataError, match="Did you mean 'zebras'"):
        open_task(tmp_path / "zebra")
    with pytest.raises(DataError, match=r"Known: a00, .* and 10 more"):
        open_task(tmp_path / "qqqqqq")


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path, {"cat": 1, "dog": 1})
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"dog: Permission denied.*ls -ld"):
        open_task(tmp_path)


def test_symlink_loops_end_and_links_are_followed(tmp_path: Path) -> None:
    elsewhere = class_folders(tmp_path / "elsewhere", {"dog": 2})
    root = class_folders(tmp_path / "root", {"cat": 1})
    (root / "dog").symlink_to(elsewhere / "dog")
    (root / "cat/again").symlink_to(root)
    (root / "cat/self").symlink_to(root / "cat")
    (root / "cat/itself.png").symlink_to(root / "cat/itself.png")
    task = open_task(root)
    assert by_class(task)["dog"] == ["dog/00.png", "dog/01.png"]
    assert "cat/00.png" in keys(task.train)


def test_broken_links_stay_visible_and_pipes_are_reported(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 1, "dog": 1})
    (tmp_path / "cat/gone.png").symlink_to(tmp_path / "nothing.png")
    os.mkfifo(tmp_path / "cat/pipe.png")
    task = open_task(tmp_path)
    sizes = {example.key: example.size_bytes for example in task.train}
    assert sizes["cat/gone.png"] == 0
    assert "cat/pipe.png" not in sizes
    assert (
        "left out 1 pipe, socket or device, which cannot be read as images: cat/pipe.png"
        in task.notes
    )


def test_names_in_any_script_and_no_script(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    flat_images(tmp_path, [f"{decomposed}/é.png", "犬/1.png"])
    bad = os.fsdecode(os.fsencode(tmp_path) + "/犬/".encode() + b"\xff.png")
    write_image(Path(os.fsdecode(os.fsencode(tmp_path) + b"/x.png"))).rename(bad)
    task = open_task(tmp_path)
    assert task.classes.names == (unicodedata.normalize("NFC", "café"), "犬")
    assert task.fingerprint()
    assert {key.encode("utf-8") for key in keys(task.train)} >= {"犬/\\udcff.png".encode()}


def test_templates_and_task_name(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "my pets (2024)", {"cat": 1, "dog": 1})
    task = open_task(root, templates=["a {}.", "one {}."])
    assert task.name == "my-pets-2024"
    assert task.classes.texts(0) == ("a cat.", "one cat.")
    with pytest.raises(ConfigError, match="exactly once"):
        open_task(root, templates=["no slot"])


LISTS = {
    "train800": [("images/train800/0 a.png", 0), ("images/train800/1.png", 2)],
    "val200": [("images/val200/0.png", 1)],
    "train800val200": [
        ("images/train800val200/0 a.png", 0),
        ("images/train800val200/1.png", 2),
        ("images/train800val200/2.png", 1),
    ],
    "test": [("images/test/000000.png", 1), ("images/test/000001.png", 0)],
}


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
def test_list_folder(tmp_path: Path, end: str) -> None:
    task = open_task(list_folder(tmp_path / "dtd", LISTS, end=end))
    assert task.name == "dtd"
    assert [(e.key, e.label) for e in task.train] == LISTS["train800val200"]
    assert (task.val, [e.label for e in task.test]) == ((), [1, 0])
    assert task.classes.names == ("0", "1", "2")
    assert task.notes[0] == "layout: list folder"
    assert any("train800val200" in note for note in task.notes)
    (finding,) = name_findings(task)
    assert "classnames.txt" in finding.hint


def test_list_folder_without_the_union(tmp_path: Path) -> None:
    lists = {name: LISTS[name] for name in ("train800", "val200")}
    root = list_folder(tmp_path, lists)
    (root / "classnames.txt").write_text("red\nblue sky\r\ngreen\n")
    task = open_task(root)
    assert task.classes.names == ("red", "blue sky", "green")
    assert by_class(task) == {
        "red": ["images/train800/0 a.png"],
        "blue sky": [],
        "green": ["images/train800/1.png"],
    }
    assert by_class(task, "val")["blue sky"] == ["images/val200/0.png"]
    assert "1 class without training images: 'blue sky'" in task.notes


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("images/1.png", "expected a path"),
        ("images/1.png x", "expected a path"),
        ("images/1.png -1", "expected a path"),
        ("images/none.png 0", "does not exist"),
        ("../secret.png 0", "out of the folder"),
        ("images/../../secret.png 0", "out of the folder"),
        ("/etc/passwd 0", "out of the folder"),
        ("images/1.png 7", "label 7, but labels run from 0 to 1"),
        ("a\0b.png 0", "does not exist"),
    ],
)
def test_bad_list_lines(tmp_path: Path, line: str, match: str) -> None:
    root = list_folder(tmp_path / "root", {"train800": [("images/1.png", 0)]})
    write_image(tmp_path / "secret.png")
    (root / "classnames.txt").write_text("a\nb\n")
    with (root / "train800.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=match) as caught:
        open_task(root)
    assert "train800.txt line 2" in str(caught.value)


def test_folder_of_list_folders_is_not_a_task(tmp_path: Path) -> None:
    list_folder(tmp_path / "vtab-1k/dtd", LISTS)
    list_folder(tmp_path / "vtab-1k/svhn", LISTS)
    with pytest.raises(DataError, match="holds datasets: 'dtd', 'svhn'"):
        open_task(tmp_path / "vtab-1k")


def test_importing_the_layer_loads_nothing_heavy() -> None:
    code = (
        "import sys, fewtune.data.layouts, fewtune.data.verify, fewtune.datasets.catalog;"
        "print({'torch', 'numpy', 'PIL', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
