"""What is no example: hidden files, system folders, and what FewTune itself wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewtune.core.errors import DataError
from fewtune.core.files import write_json
from fewtune.data.file_names import hidden_part, is_hidden
from fewtune.data.layouts import open_task
from fixtures import class_folders, flat_images, split_folders, write_image

HIDDEN = [
    *("@eaDir", "@Recycle", ".@__thumb", "#recycle", "$RECYCLE.BIN", "lost+found", "__MACOSX"),
    *(
        ".thumbnails",
        ".picasaoriginals",
        ".git",
        "Photos Previews.lrdata",
        "System Volume Information",
    ),
]
HIDDEN_FILES = ["._1.png", ".trashed-1.png", ".x.jpg"]


@pytest.mark.parametrize("name", [*HIDDEN, *HIDDEN_FILES, "Thumbs.db", "desktop.ini", ".DS_Store"])
def test_names_of_systems_are_hidden(name: str) -> None:
    assert is_hidden(name)
    assert hidden_part(f"cat/{name}/1.png") == name


@pytest.mark.parametrize("name", ["cat", "a.b", "#1", "@home", "thumbs", "tmp", "$", "recycle"])
def test_other_names_are_not(name: str) -> None:
    assert not is_hidden(name)


def test_folders_above_a_dataset_may_begin_with_a_dot() -> None:
    assert not hidden_part("/home/me/.cache/cat/1.png")
    assert hidden_part("/home/me/.cache/@eaDir/1.png") == "@eaDir"
    assert hidden_part("../cat/._1.png") == "._1.png"


def table(root: Path, keys: list[str]) -> Path:
    (root / "labels.csv").write_text("path,label\n" + "".join(f"{k},{k[0]}\n" for k in keys))
    return root / "labels.csv"


def metadata(root: Path, keys: list[str]) -> Path:
    table(root, keys).rename(root / "metadata.csv")
    return root


def split_file(root: Path, keys: list[str]) -> Path:
    rows = [[key, int(key[0] == "b"), key[0]] for key in keys]
    (root / "split_x.json").write_text(json.dumps({"train": rows}))
    return root


def list_folder(root: Path, keys: list[str]) -> Path:
    lines = (f"{key} {int(key[0] == 'b')}\n" for key in keys)
    (root / "train800.txt").write_text("".join(lines))
    return root


def folders(root: Path, keys: list[str]) -> Path:
    return root


def splits(root: Path, keys: list[str]) -> Path:
    for key in keys:
        (root / "all/train" / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).rename(root / "all/train" / key)
    return root / "all"


@pytest.mark.parametrize("layout", [table, metadata, split_file, list_folder, folders, splits])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.sampled_from([*HIDDEN, *HIDDEN_FILES, "x", "y"]), max_size=3),
    name=st.sampled_from(["1.png", "2.jpg", *HIDDEN_FILES]),
)
def test_nothing_hidden_is_an_example(
    tmp_path_factory: pytest.TempPathFactory,
    layout: Callable[[Path, list[str]], Path],
    parts: list[str],
    name: str,
) -> None:
    root = tmp_path_factory.mktemp("data")
    keys = ["a/0.png", "b/0.png", "/".join(["a", *parts, name])]
    flat_images(root, keys)
    task = open_task(layout(root, keys))
    found = [PurePosixPath(example.key).parts for example in task.train]
    assert not [key for key in found if any(map(is_hidden, key))]
    hidden = any(map(is_hidden, [*parts, name]))
    assert len(task.train) == 3 - hidden
    assert any("hidden" in note for note in task.notes) == hidden


def test_a_table_of_hidden_images_alone_is_refused(tmp_path: Path) -> None:
    flat_images(tmp_path, [".a/1.png", ".a/2.png"])
    (tmp_path / "l.csv").write_text("path,label\n.a/1.png,x\n.a/2.png,y\n")
    with pytest.raises(DataError, match=r"are hidden: they are in '\.a'"):
        open_task(tmp_path / "l.csv")


def write_run(folder: Path) -> None:
    write_json(folder / "spec.json", {"format": 1, "strategy": "zero-shot", "data": "0"})
    write_json(folder / "task.json", {"classes": []})
    write_image(folder / "summary.png")


def write_results(root: Path) -> None:
    """Write what FewTune leaves in the folder in which it is started."""
    write_run(root / "runs/zero-shot-pets-0123")
    write_json(root / "runs/failed/failure.json", {"spec": {}, "error": "x"})
    write_run(root / "cat/old-run")
    entry = root / "kept" / ("0" * 32) / "activations.safetensors"
    write_image(root / "cache/data/dtd/1.png")
    (root / "cache/verify").mkdir()
    (root / "cache/verify" / f"{'0' * 64}.jsonl").write_text("")
    for file in ("report/index.html", "report/report.md", "report/runs.csv"):
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_text("x")
    entry.parent.mkdir(parents=True)
    entry.write_bytes(b"x")
    export = {"names": [], "templates": [], "prompts": []}
    write_json(root / "export/classes.json", export)
    (root / "export/classes.safetensors").write_bytes(b"x")
    (root / "figures").mkdir()
    (root / "figures/map.svg").write_text('<svg class="alone" role="img">')


OWN = "cache, export, figures, kept, old-run"


def test_what_fewtune_wrote_is_no_class(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 2, "dog": 2})
    write_results(tmp_path)
    task = open_task(tmp_path)
    assert task.classes.names == ("cat", "dog")
    assert len(task.train) == 4
    assert f"ignored 7 folders that FewTune wrote: {OWN}, ..." in task.notes


def test_what_fewtune_wrote_is_no_folder_next_to_splits(tmp_path: Path) -> None:
    split_folders(tmp_path, train={"cat": 2, "dog": 2})
    write_results(tmp_path)
    task = open_task(tmp_path)
    assert len(task.train) == 4
    assert any("that FewTune wrote" in note for note in task.notes)


def test_images_in_a_folder_of_runs_are_those_of_a_class(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 2, "runs": 1})
    write_run(tmp_path / "runs/zero-shot-pets-0123")
    assert [e.key for e in open_task(tmp_path).train] == ["cat/00.png", "cat/01.png", "runs/00.png"]


@pytest.mark.parametrize("text", ["{}", "[]", "", '{"name": "x", "format": 2}'])
def test_other_files_of_these_names_make_no_run(tmp_path: Path, text: str) -> None:
    class_folders(tmp_path, {"cat": 1, "dog": 1})
    for name in ("spec.json", "task.json", "failure.json"):
        (tmp_path / "dog" / name).write_text(text)
    assert open_task(tmp_path).classes.names == ("cat", "dog")
