"""No run reads its test images before it is evaluated, and honest runs do not notice the guard."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from fewtune.core.errors import DataError, RunError
from fewtune.core.files import read_json
from fewtune.core.spec import Recipe
from fewtune.core.splits import part_of
from fewtune.core.task import ClassSet, Example, Task
from fewtune.data.decode import open_image
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.strategies.clip_adapter import ClipAdapter
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training import disk_cache
from fewtune.training.disk_cache import DiskCache
from fewtune.training.feature_cache import FeatureCache
from fewtune.training.image_loader import ImageLoader
from fewtune.training.job import Job
from fewtune.training.run import run
from fewtune.training.tracking import Step, Tracker
from fewtune.training.vmapped.vmapped_runs import run_vmapped

RECIPE = Recipe(batch_size=4, length=3, length_unit="steps", views=1)
END = 8  # stages of the tiny image tower


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("guarded") / "clip")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A task of image files."""
    folder = tmp_path_factory.mktemp("images")
    tiny = tiny_task(train=3, test=2)

    def written(examples: tuple[Example, ...]) -> tuple[Example, ...]:
        found = []
        for example in examples:
            path = folder / f"{example.key.replace('/', '-')}.png"
            pixels: Any = example.source.read()  # type: ignore[union-attr]
            Image.fromarray(np.asarray(pixels)).save(path)
            found.append(replace(example, source=path))
        return tuple(found)

    splits = {name: written(examples) for name, examples in tiny.splits().items()}
    return replace(tiny, **splits)


def job(backbone: Path, task: Task, runs: Path, strategy: Strategy, **changes: Any) -> Job:
    options: dict[str, Any] = {"device": "cpu", "precision": "fp32", "threads": 1}
    return Job.of(
        strategy, task, str(backbone), RECIPE, runs=runs, cache_dir=runs / "cache",
        **options | changes,
    )  # fmt: skip


CHEATS: dict[str, Callable[[DualEncoder], object]] = {}


class CheatingHead(Head):
    """Takes a step like others, and reads what it should not."""

    def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
        super().__init__(model, classes, "linear")

    def prepare(self, z: Tensor, labels: Tensor) -> None:
        CHEATS.get("prepare", id)(self.model)

    def loss(self, output: Any, labels: Tensor) -> Tensor:
        CHEATS.get("loss", id)(self.model)
        return super().loss(output, labels)

    def tune_on_validation(self, images: Any, classes: Any, labels: Tensor) -> None:
        CHEATS.get("settle", id)(self.model)


class Cheating(Strategy):
    """A strategy that knows where the test images are."""

    title = "Cheating"
    recipe = RECIPE

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        CHEATS.get("attach", id)(model)
        return CheatingHead(model, classes)


def test_test_images_are_refused_until_the_evaluation(
    backbone: Path, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = task.test[0].source
    cheating = job(backbone, task, tmp_path, Cheating())
    stages = {
        "attach": "attaching", "prepare": "preparing", "loss": "training", "settle": "settling",
    }  # fmt: skip
    for where, stage in stages.items():
        with monkeypatch.context() as patch:
            patch.setitem(CHEATS, where, lambda model: open_image(str(path)))
            with pytest.raises(RunError, match=rf"Test image .*red-0\.png was read while {stage}"):
                run(cheating, Tracker())
        assert not list(tmp_path.glob("test-guarded-runs-*/record.json"))
        assert open_image(path)
    assert run(cheating, Tracker()).fresh


def test_what_is_cached_of_test_images_is_refused_too(
    backbone: Path, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_cache, "READING_BYTES_PER_S", float("inf"))
    monkeypatch.setattr("fewtune.training.run.DiskCache", functools.partial(DiskCache, least_s=0))
    shared = DiskCache(tmp_path / "cache", lambda text: None, least_s=0)

    def steal(model: DualEncoder) -> Tensor:
        images = ImageLoader(task.test, model.preprocess)
        cache = FeatureCache(model, images, END, budget_bytes=1e9, disk_cache=shared)
        return cache.batch([0]).x

    monkeypatch.setitem(CHEATS, "prepare", steal)
    cheating = job(backbone, task, tmp_path, Cheating())
    with pytest.raises(RunError, match="while preparing"):
        run(cheating, Tracker())
    # The zero-shot run, which was made before, has left them there.
    kept = [entry.about["images"] for entry in disk_cache.entries(tmp_path / "cache")]
    assert len(task.test) in kept
    monkeypatch.delitem(CHEATS, "prepare")
    assert run(cheating, Tracker()).fresh


class Stop(Tracker):
    """Leaves as a crash would."""

    def log(self, step: Step) -> None:
        if step.step == 2:
            raise ZeroDivisionError


def test_a_run_that_was_interrupted_goes_on(backbone: Path, task: Task, tmp_path: Path) -> None:
    whole = run(job(backbone, task, tmp_path / "whole", ClipAdapter()), Tracker())
    halved = job(backbone, task, tmp_path / "halved", ClipAdapter(), checkpoint_interval_s=0)
    with pytest.raises(ZeroDivisionError):
        run(halved, Stop())
    resumed = run(halved, Tracker())
    assert resumed.fresh
    for name in ("adapter.safetensors", "predictions.csv"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_runs_at_once_are_guarded_too(
    backbone: Path, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHEATS, "prepare", lambda model: open_image(task.test[-1].source))
    jobs = [job(backbone, task, tmp_path, Cheating(), seed=seed) for seed in (1, 2)]
    with pytest.raises(RunError, match="while training"):
        run_vmapped(jobs, Tracker())


def test_an_image_in_two_splits_is_named_before_anything_is_trained(
    backbone: Path, task: Task, tmp_path: Path
) -> None:
    mixed = replace(task, train=(*task.train, replace(task.test[0], key="train/red/again")))
    with pytest.raises(DataError, match="hold 1 test image, for example train/red/again"):
        run(job(backbone, mixed, tmp_path, ClipAdapter()), Tracker())
    assert not list(tmp_path.rglob("record.json"))


def test_a_run_of_a_search_has_no_test_images(backbone: Path, task: Task, tmp_path: Path) -> None:
    part = part_of(task, scored_on="val")
    assert part.whole is not None
    assert not part.whole.test
    chosen_by = {"method": "grid"}
    asked = job(backbone, part, tmp_path, ClipAdapter(), shots=1, chosen_by=chosen_by)
    made = run(asked, Tracker())
    lines = (made.folder / "predictions.csv").read_text().splitlines()[1:]
    assert len(lines) == len(part.classes)  # one a class, as many as are trained on
    assert all(line.startswith("val/") for line in lines)
    record = read_json(made.folder / "record.json")
    assert record["task"]["images"] == {"train": 3, "val": 0, "test": 3}
    assert record["search"] == chosen_by
