"""Every benchmark dataset by name: `fewtune fit` and train.py, on miniatures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from commands import Cli

from fewtune.core.errors import RunError
from fewtune.datasets import catalog
from fewtune.training.job import Job
from fewtune.training.tracking import Tracker
from miniatures import Manifest, forms_of, write

ROOT = Path(__file__).parents[2]
USUAL = ("list folder", "CoOp folder", "ImageNet of CoOp", "ImageNet variant")


def miniature(name: str, root: Path) -> Manifest:
    forms = forms_of(name)
    return write(name, next((form for form in USUAL if form in forms), forms[0]), root)


@pytest.fixture(scope="module")
def train() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", catalog.declared())
def test_every_name_becomes_a_job(
    name: str,
    cli: Cli,
    train: ModuleType,
    backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs: list[Job] = []

    def stop(job: Job, tracker: Tracker) -> None:
        jobs.append(job)
        raise RunError("Enough.")

    monkeypatch.setattr("fewtune.training.run.run", stop)
    made = miniature(name, tmp_path / "data")
    dataset = catalog.load(name)
    shift = dataset.group == "domain-shift"
    strategy = "zero-shot" if shift else "clip-lora"
    flags = ["--data", name, "--root", made.root, "--backbone", backbone, "--shots", 1]
    told = cli(f"fit {strategy} --quiet", *flags)
    assert "Enough." in told.err, told.err
    asked = train.parser().parse_args(
        ["--data", catalog.task_name(name), "--root", str(made.root), "--shots", "1"]
    )
    jobs.append(train.make_job(asked))
    for job in jobs:
        task = job.task
        assert (task.name, task.classes.names) == (catalog.task_name(name), dataset.classes)
        found = {example.key: dataset.classes[example.label] for example in task.test}
        assert found == made.split("test")
        assert task.benchmark
        assert shift or task.train
    fitted, trained = (job.task for job in jobs)
    assert f"prompts: {dataset.default_prompts}" in fitted.notes
    theirs = "peft4clip" if "peft4clip" in dataset.prompt_sets else dataset.default_prompts
    assert f"prompts: {theirs}" in trained.notes


def test_words_preprocessing_and_subset_reach_the_run(
    cli: Cli, backbone: Path, tmp_path: Path
) -> None:
    name = "vtab/clevr-distance"
    root = miniature(name, tmp_path / "data").root
    flags = ["--data", name, "--root", root, "--backbone", backbone, "--shots", 1]
    flags += ["--steps-scale", 0.002, "--preprocess", "vpt", "--prompts", "clip-benchmark"]
    told = cli("fit clip-lora --json", *flags)
    assert told.status == 0, told.err
    record = json.loads(told.out)["record"]
    assert record["spec"]["interpolation"] == "bilinear"
    assert record["spec"]["resize"] == "squash"
    assert "subset: whole training and validation splits" in record["task"]["notes"]
    folder = Path(json.loads(told.out)["folder"])
    task = json.loads((folder / "task.json").read_text())
    assert task["words"][3] == ""
    assert task["templates"] == ["{} shapes."]
    again = cli(f"evaluate {folder} --json --data {name} --root {root}")
    assert again.status == 0, again.err
    assert json.loads(again.out)["metrics"]["clip-lora"]["top1"] == record["metrics"]["top1"]


def test_training_needs_training_images(cli: Cli, backbone: Path, tmp_path: Path) -> None:
    root = miniature("imagenet-a", tmp_path / "data").root
    for imagenet in root.glob("imagenet"):
        imagenet.rename(tmp_path / "elsewhere")
    told = cli(f"fit clip-lora --data imagenet-a --root {root} --backbone {backbone}")
    assert told.status == 2
    assert "no training images. Train on others" in told.err
