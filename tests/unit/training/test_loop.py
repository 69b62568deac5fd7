"""A step: what the seed decides, rates of groups and ends of epochs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fewtune.core.spec import Plan, Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.strategies.clip_adapter import ClipAdapter
from fewtune.strategies.vpt_deep import VptDeep
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training import loop
from fewtune.training.estimate import estimate_cost
from fewtune.training.feature_cache import FeatureCache
from fewtune.training.job import Job
from fewtune.training.loop import Training
from fewtune.training.run import Execution
from fewtune.training.run_model import attach, load_backbone
from fewtune.training.tracking import Tracker

SUPPORT = tiny_task().support()  # 12 images
PLAIN = Recipe(batch_size=12, lr=0.1, optimizer="sgd", momentum=0, crop_scale=None, flip=False)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("loop") / "clip")


def training(backbone: Path, strategy: Strategy, seed: int = 0, **recipe: Any) -> Training:
    settings = PLAIN.model_copy(update=recipe)
    head = attach(strategy, tiny_clip(backbone), SUPPORT.classes, settings, 0)
    return Training(head, SUPPORT, settings, Plan(device="cpu", threads=1), "fp32", seed, 0)


@pytest.mark.parametrize("micro_batch", [0, 5])
def test_dropout_follows_the_seed(
    backbone: Path, monkeypatch: pytest.MonkeyPatch, micro_batch: int
) -> None:
    monkeypatch.setattr(loop, "epoch_order", lambda seed, epoch, count: tuple(range(count)))
    losses = []
    for seed in (1, 1, 2):
        subject = training(backbone, VptDeep(dropout=0.5), seed)
        subject.use_plan(subject.plan.model_copy(update={"micro_batch": micro_batch}))
        losses.append(subject.gradients(0)())
    assert losses[0] == losses[1] != losses[2]


def test_initialisation_follows_the_seed(backbone: Path, tmp_path: Path) -> None:
    starts = []
    for seed in (1, 1, 2):
        settings = {"device": "cpu", "threads": 1, "runs": tmp_path, "seed": seed}
        job = Job.of(ClipAdapter(), tiny_task(), str(backbone), ClipAdapter.recipe, **settings)
        execution = Execution(job, load_backbone(job, Tracker()), Tracker())
        head = execution.attached(job.strategy.phases(PLAIN)[0], 0, None)
        starts.append(head.saved()["head.down.weight"])
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


class Grouped(Head):
    """Two factors of the image embedding, one at a tenth of the rate; notes the epochs."""

    def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
        super().__init__(model, classes)
        self.fast = nn.Parameter(torch.ones(()))
        self.slow = nn.Parameter(torch.ones(()))
        self.offset = nn.Parameter(torch.zeros(model.dim))
        self.epochs: list[tuple[int, int]] = []

    def image(self, z: torch.Tensor) -> torch.Tensor:
        return z + self.fast * self.slow * (1 + self.offset)

    def groups(self, parameters: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
        return [{"params": [self.fast, self.offset]}, {"params": [self.slow], "rate": 0.1}]

    def epoch_end(self, epoch: int, epochs: int) -> None:
        self.epochs.append((epoch, epochs))


def grouped(backbone: Path, **recipe: Any) -> tuple[Grouped, Training]:
    head = Grouped(tiny_clip(backbone), SUPPORT.classes)
    settings = PLAIN.model_copy(update=recipe)
    plan = Plan(device="cpu", threads=1)
    return head, Training(head, SUPPORT, settings, plan, "fp32", 0, 0)


def test_a_group_has_its_share_of_the_rate(backbone: Path) -> None:
    head, subject = grouped(backbone)
    subject.step(0)
    fast, slow = (1 - p.item() for p in (head.fast, head.slow))
    assert fast != 0  # both factors have the same gradient
    assert slow == pytest.approx(0.1 * fast, rel=1e-3)


def test_the_head_is_told_of_every_end_of_an_epoch(backbone: Path) -> None:
    head, subject = grouped(backbone, batch_size=4, length=2)
    for step in range(subject.total):
        subject.step(step)
    assert head.epochs == [(0, 2), (1, 2)]


def test_the_estimate_counts_views_that_are_encoded_on_the_way(
    backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = FeatureCache._compute

    def slowly(self: FeatureCache, view: int | None) -> torch.Tensor:
        time.sleep(0.2)
        return compute(self, view)

    monkeypatch.setattr(FeatureCache, "_compute", slowly)
    views = {"views": 5, "crop_scale": 0.5, "length": 20, "length_unit": "epochs"}
    estimate = estimate_cost(training(backbone, ClipAdapter(), **views), probes=2)
    assert 0.8 <= estimate.seconds < 2.4  # four views are still to come
    short = estimate_cost(training(backbone, ClipAdapter(), **views | {"length": 2}), probes=2)
    assert 0.2 <= short.seconds < 0.6
