"""A command line in this process, a random backbone, a few pictures, and one finished run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import CLASSES, Cli, Outcome, short

from fewtune.cli.main import run
from fewtune.testing import tiny_clip_folder
from fixtures import split_folders


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line; a string is split at blanks."""

    def call(*arguments: object) -> Outcome:
        words = [str(argument) for argument in arguments]
        capsys.readouterr()
        status = run(words[0].split() + words[1:])
        printed = capsys.readouterr()
        return Outcome(status, printed.out, printed.err)

    return call


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("backbone") / "tiny", blocks=2)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes with four training and three test images each."""
    root = tmp_path_factory.mktemp("images") / "pets"
    return split_folders(root, train=dict.fromkeys(CLASSES, 4), test=dict.fromkeys(CLASSES, 3))


@pytest.fixture(autouse=True)
def place(tmp_path: Path) -> Iterator[Path]:
    """Each test stands in an empty folder."""
    before = os.getcwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


@pytest.fixture(scope="session")
def tuned(backbone: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of clip-lora, two steps long."""
    runs = tmp_path_factory.mktemp("finished") / "runs"
    arguments = ["fit", "clip-lora", *short(images, backbone), "--quiet", "--runs", str(runs)]
    assert run(arguments) == 0
    return next(runs.glob("clip-lora-*"))


@pytest.fixture
def baseline(tuned: Path, place: Path) -> Path:
    """The finished zero-shot run, in ./runs, so that a test need not make its own."""
    folder = next(tuned.parent.glob("zero-shot-*"))
    shutil.copytree(folder, place / "runs" / folder.name)
    return place / "runs" / folder.name
