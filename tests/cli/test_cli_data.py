"""`fewtune data`: benchmark datasets by name, and the embedded images as a folder."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Cli
from huggingface_hub import close_session

from fewtune.data.layouts import open_task
from fewtune.datasets import catalog
from fixtures import class_folders, encoded, picture
from miniatures.hub import FakeHub, connect, serve

REPO = "clip-benchmark/wds_vtab-dtd"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty download folder."""
    monkeypatch.setenv("FEWTUNE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The Describable Textures with three images a split."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for split in ("train", "test"):
        folder = tmp_path / "web/datasets" / REPO / split
        folder.mkdir(parents=True)
        (folder / "nshards.txt").write_text("1\n")
        with tarfile.open(folder / "0.tar", "w") as archive:
            for index in range(3):
                files = {"png": encoded(picture((split, index))), "cls": str(index).encode()}
                for suffix, data in files.items():
                    info = tarfile.TarInfo(f"s{index:07d}.{suffix}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    with serve(tmp_path / "web") as running:
        connect(running.url, monkeypatch)
        yield running
        close_session()


def test_all_datasets_are_listed(cli: Cli, root: Path) -> None:
    listed = json.loads(cli("data list --json").out)
    assert [entry["name"] for entry in listed] == list(catalog.declared())
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["vtab/dtd"]["sizes"] == {"train": 1880, "val": 1880, "test": 1880}
    assert by_name["vtab/dtd"]["found"] == []
    assert by_name["imagenet-a"]["download_bytes"] == 687_552_512
    assert by_name["vtab/dsprites-location"]["found"][0]["layout"] == "regenerated dSprites"
    for entry in listed:
        assert entry["licence"]
        assert entry["can_be_downloaded"] or entry["by_hand"], entry["name"]
    lines = cli("data list").out.splitlines()
    assert len(lines) >= len(listed) + 2
    assert str(root) in "".join(lines[-2:])


def test_what_is_known_of_one(cli: Cli, root: Path) -> None:
    told = cli("data info vtab/dtd").out
    for words in ("47: 'banded'", "1,880 train", "fewtune data download vtab/dtd", "not here"):
        assert words in told
    known = json.loads(cli("data info fewshot/dtd --json").out)
    assert len(known["class_names"]) == known["classes"] == 47
    assert known["prompts"]["coop"]["templates"] == ["{} texture."]
    assert {len(source["names"]) for source in known["prompts"].values()} == {47}


def test_a_task_that_never_was_is_a_warning(cli: Cli, root: Path) -> None:
    told = cli("data info smallnorb_distance --root", root)
    assert told.out.startswith("vtab/smallnorb-elevation")
    assert "there is no task 'smallnorb_distance'" in " ".join(told.err.split())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("data info dtd", "fewshot/dtd and vtab/dtd"),
        ("data info vtab/dtt", "Did you mean"),
        ("data download dttd", "There is no dataset called 'dttd'"),
        ("data download fashion", "fewtune data sample DIR"),
        ("data download fewshot/imagenet", "cannot be downloaded by a program. "),
        ("data download vtab/dtd --split val", "no 'val' split"),
        ("data download imagenet-a --shards", "no webdataset shards"),
        ("data download vtab/dtd", "HF_HUB_OFFLINE is set"),
        ("data verify vtab/dtd", "vtab/dtd is not below"),
        ("data lst", "Did you mean 'list'?"),
    ],
)
def test_what_cannot_be_done_is_one_line(cli: Cli, root: Path, line: str, words: str) -> None:
    done = cli(line)
    assert done.status == 2
    assert words in done.err
    assert done.err.count("\n") == 1


def test_a_download_is_found_verified_and_not_repeated(cli: Cli, root: Path, hub: FakeHub) -> None:
    done = cli("data download vtab-dtd --shards")
    assert done.status == 0, done.err
    assert f"wrote    {root / 'wds_vtab-dtd'}" in done.out
    assert f"webdataset shards: {root / 'wds_vtab-dtd'}" in cli("data info vtab/dtd").out
    verified = cli("data verify vtab/dtd --json")
    assert verified.status == 1
    findings = {(f["kind"], f["level"]) for f in json.loads(verified.out)["findings"]}
    assert ("size", "error") in findings
    assert "3 test images, where the dataset has 1,880" in cli("data verify vtab/dtd").out
    requests = len(hub.seen)
    assert cli("data download vtab/dtd --shards").status == 0
    assert len(hub.seen) == requests


def test_what_is_here_in_another_form_is_not_downloaded(cli: Cli, root: Path, hub: FakeHub) -> None:
    folder = root / "vtab-1k/dtd"
    (folder / "images/test").mkdir(parents=True)
    for name in ("train800val200", "train800", "val200", "test"):
        (folder / f"{name}.txt").write_text("images/test/000000.jpg 0\n")
    done = cli(
        "data download vtab/dtd",
    )
    assert "vtab/dtd is here already" in done.out
    assert hub.seen == []


def test_sample_is_a_folder_that_every_command_reads(cli: Cli, tmp_path: Path) -> None:
    assert cli("data sample", tmp_path / "clothes").status == 0
    task = open_task(tmp_path / "clothes")
    assert (len(task.classes), len(task.train), len(task.test)) == (10, 160, 1000)
    assert "exists already" in cli("data sample", tmp_path / "clothes").err


def test_prompts_of_all_classes_or_of_the_first_ones(cli: Cli, tmp_path: Path) -> None:
    class_folders(tmp_path / "few", {"SeaLake": 2, "dog": 2})
    for verb in ("verify", "info"):
        out = cli(f"data {verb}", tmp_path / "few").out
        assert "a photo of a Sea Lake." in out
        assert "a photo of a dog." in out
    class_folders(tmp_path / "many", {f"kind{letter}": 2 for letter in "abcdefghijklmnopqrstu"})
    verified = cli("data verify", tmp_path / "many").out
    assert "kindc: a photo of a kindc." in verified
    assert "kindf" not in verified
    assert "and of 16 more classes: fewtune data info DIR lists all" in verified
    assert "a photo of a kindu." in cli("data info", tmp_path / "many").out


def test_numbers_for_names_are_a_warning(cli: Cli, tmp_path: Path) -> None:
    class_folders(tmp_path / "few", {"0": 2, "1": 2})
    for verb in ("verify", "info"):
        out = cli(f"data {verb}", tmp_path / "few").out
        assert "warning: 2 classes named by a number or a code" in out
        assert "('a photo of a 0.'): 0, 1. Put names into classnames.txt" in out


def test_runs_and_exports_in_the_folder_of_the_images_are_no_class(
    cli: Cli, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_folders(tmp_path / "pets", {"cat": 5, "dog": 5})
    monkeypatch.chdir(tmp_path / "pets")
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "pets/mycache"))
    flags = ("--backbone", backbone, "--quiet", "--cache", "kept")  # nothing is worth keeping
    assert cli("fit clip-lora --data . --steps-scale 0.01", *flags).status == 0
    (run,) = (path for path in Path("runs").iterdir() if path.name.startswith("clip-lora"))
    assert cli("export", run, "--to", "hf", "--output", "export").status == 0
    assert cli("report runs --out report").status == 0
    monkeypatch.delenv("FEWTUNE_CACHE")
    again = cli("fit zero-shot --data . --json", *flags)
    assert again.status == 0, again.err
    task = open_task(Path())
    assert task.classes.names == ("cat", "dog")
    assert len(task.train) == 10
    (note,) = (note for note in task.notes if "that FewTune wrote" in note)
    for name in ("export", "mycache", "report", "runs"):
        assert name in note
