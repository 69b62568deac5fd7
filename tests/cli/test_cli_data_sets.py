"""Every benchmark data set by name, from miniatures below one root to a run."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from commands import Cli

import miniatures
from fewtune.cli.console import Console
from fewtune.core.draws import few_shot
from fewtune.core.task import Task
from fewtune.datasets import catalog

TRAIN_PY = Path(__file__).parents[2] / "train.py"
# The form in which each group lies below the root.
FORMS = {"vtab": "list folder", "fewshot": "CoOp folder", "": "ImageNet variant"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 34 data sets below one folder."""
    folder = tmp_path_factory.mktemp("data-sets")
    miniatures.write("fewshot/imagenet", "ImageNet of CoOp", folder)
    for name in catalog.declared():
        if name != "fewshot/imagenet":
            miniatures.write(name, FORMS[name.rpartition("/")[0]], folder)
    return folder


def train_py() -> Any:
    """The command line of the seed repository, as a module."""
    spec = importlib.util.spec_from_file_location("train", TRAIN_PY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same_images(one: Task, other: Task) -> bool:
    return (one.train, one.val, one.test) == (other.train, other.val, other.test)


def test_every_data_set_opens_for_training(root: Path) -> None:
    assert len(catalog.declared()) == 34
    seed = train_py()
    for name in catalog.declared():
        task = catalog.resolve(name, root=root, few_shot=True)
        assert len(task.classes) == len(catalog.load(name).classes), name
        assert task.licence, name
        assert task.citation, name
        assert task.test, name
        drawn = few_shot(task, 1, 0)
        support = drawn.support()
        assert sum(support.classes.counts) == len({e.label for e in task.train}) > 1, name
        assert all(text for text in support.classes.texts(0)), name
        assert drawn.test == task.test, name
        assert same_images(seed.find_task(name, root, 1, Console(quiet=True)), task), name


@pytest.mark.parametrize(
    ("name", "draw"),
    [("fewshot/eurosat", "clip-lora"), ("vtab/svhn", "fewtune"), ("imagenet-a", "coop")],
)
def test_fit_takes_a_data_set_by_name(
    name: str, draw: str, root: Path, cli: Cli, backbone: Path, place: Path
) -> None:
    outcome = cli(
        "fit clip-lora --json --shots 2 --length 2 --length-unit steps --threads 1 "
        "--precision fp32 --rank 1 --encoder vision --runs runs --template {}",
        *("--data", name, "--root", root, "--backbone", backbone, "--draw", draw),
    )
    assert outcome.status == 0, outcome.err
    record = json.loads(outcome.out)["record"]
    assert record["spec"]["draw"] == draw
    assert bool(record["spec"]["drawn"]) == (draw != "fewtune")
    assert 0 <= record["metrics"]["top1"] <= 1
    folder = next(place.glob(f"runs/clip-lora-{name.replace('/', '-')}-*"))
    stored = json.loads((folder / "task.json").read_text())["drawn"]
    expected = few_shot(catalog.resolve(name, root=root, few_shot=True), 2, 0, draw)
    assert stored["train"] == [[e.key, e.label] for e in expected.train]
    assert stored["val"] == [[e.key, e.label] for e in expected.val]


def test_a_draw_needs_shots(cli: Cli, images: Path) -> None:
    outcome = cli("fit clip-lora --draw coop --data", images)
    assert outcome.status == 2
    assert "there are no --shots. Add --shots 16." in outcome.err
