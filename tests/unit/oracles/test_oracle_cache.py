"""Tip-Adapter in a few lines of numpy, its search by the authors' loops, and its training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracle_clip import (
    Leaves,
    adamw,
    check,
    close,
    cross_entropy,
    embeddings,
    labels,
    leaves,
    logits_now,
    normal,
    pixels,
    start,
    stock,
    texts,
    tokens,
)
from torch import Tensor

from fewtune.core.errors import ConfigError
from fewtune.core.spec import Recipe
from fewtune.core.task import Example
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.tip_adapter import CacheHead, TipAdapter
from fewtune.strategies.tip_adapter_f import TipAdapterF
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.job import Job
from fewtune.training.load_run import load_run
from fewtune.training.loop import prepare
from fewtune.training.run import run
from fewtune.training.tracking import Tracker

TASK = tiny_task()
PLAIN = TipAdapter.recipe.model_copy(update={"crop_scale": None, "views": 2})
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("cache") / "clip")


def features(folder: Path, examples: tuple[Example, ...]) -> Array:
    with torch.no_grad():
        z = embeddings(stock(folder).get_image_features(pixel_values=pixels(examples)))
    return normal(z.double()).numpy()


def parts(folder: Path, examples: tuple[Example, ...]) -> tuple[Array, Array, Array]:
    """Zero-shot logits, similarities with the training images, and these images' labels."""
    with torch.no_grad():
        w = embeddings(stock(folder).get_text_features(**tokens(folder, texts(TASK))))
    scale = float(stock(folder).logit_scale.exp())
    f, keys = features(folder, examples), features(folder, TASK.train)
    values = np.eye(3)[[example.label for example in TASK.train]]
    return scale * f @ normal(w.double()).numpy().T, f @ keys.T, values


def tip_adapter(parts: tuple[Array, Array, Array], alpha: float, beta: float) -> Array:
    """The paper's equation 6."""
    zero_shot, similarity, values = parts
    logits: Array = zero_shot + alpha * np.exp(-beta * (1 - similarity)) @ values
    return logits


def search(folder: Path) -> tuple[float, float]:
    """Alpha and beta of the first best of 200 x 20 pairs on the validation images."""
    truth = np.array([example.label for example in TASK.val])
    of_val = parts(folder, TASK.val)
    best, found = -1, (0.0, 0.0)
    for beta in (0.1 + i * (12 - 0.1) / 200 for i in range(200)):
        for alpha in (0.1 + i * (10 - 0.1) / 20 for i in range(20)):
            hits = (tip_adapter(of_val, alpha, beta).argmax(1) == truth).sum()
            if hits > best:
                best, found = hits, (alpha, beta)
    return found


def job(folder: Path, runs: Path, val: bool) -> Job:
    task = TASK if val else replace(TASK, val=())
    options = {"device": "cpu", "precision": "fp32", "threads": 1, "runs": runs}
    return Job.of(TipAdapter(), task, str(folder), PLAIN, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("val", [True, False])
def test_cache_and_search_by_numpy(folder: Path, tmp_path: Path, val: bool) -> None:
    result = run(job(folder, tmp_path, val), Tracker())
    assert result.record["cost"]["steps"] == result.record["cost"]["trained_parameters"] == 0
    tuned = load_run(result.folder, "cpu")
    assert isinstance(tuned.head, CacheHead)
    alpha, beta = float(tuned.head.alpha), float(tuned.head.beta)
    expected = search(folder) if val else (1.17, 1.0)
    assert (alpha, beta) == pytest.approx(expected)
    assert ((alpha, beta) != pytest.approx((0.1, 0.1))) or not val
    logits = torch.from_numpy(tip_adapter(parts(folder, TASK.test), alpha, beta)).float()
    close(tuned.scores(TASK.test), logits, "logits", 1e-5)


def test_keys_are_means_over_views_then_normalised(folder: Path) -> None:
    classes = TASK.support().classes
    head = TipAdapter().attach(tiny_clip(folder), classes)
    z = torch.randn(12, 10, 16, generator=torch.Generator().manual_seed(0))
    head.prepare(z, labels(TASK.train))
    mean = z.numpy().mean(1)
    keys = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(head.state_dict()["keys"], keys, rtol=1e-5, atol=1e-7)
    assert head.state_dict()["values"].tolist() == [example.label for example in TASK.train]


def test_training_the_keys(folder: Path) -> None:
    training = start(TipAdapterF(alpha=2.0, beta=3.0), folder, TASK)
    prepare(training, Tracker())
    values = leaves(training)
    f = torch.from_numpy(features(folder, TASK.train)).float()
    close(values["head.keys"], f, "keys", 1e-5)
    with torch.no_grad():
        values["head.keys"].mul_(1.3)  # trained keys are used as they are
        training.parameters["head.keys"].mul_(1.3)
        inputs = {"pixel_values": pixels(TASK.train), **tokens(folder, texts(TASK))}
        zero_shot = torch.as_tensor(stock(folder)(**inputs).logits_per_image)
    target = labels(TASK.train)

    def logits(v: Leaves) -> Tensor:
        affinity = (-3.0 * (1 - f @ v["head.keys"].T)).exp()
        return zero_shot + 2.0 * affinity @ torch.eye(3)[target]

    with torch.no_grad():
        close(logits_now(training, pixels(TASK.train)), logits(values), "logits", 1e-5)
    update = adamw(1e-3, 1e-2, eps=1e-4)
    check(training, values, lambda v: cross_entropy(logits(v), target), update, 1e-3)


def test_no_steps_only_where_nothing_is_trained(folder: Path) -> None:
    assert Recipe(length=0).total_steps(100, 16) == 0
    with pytest.raises(ConfigError, match="nothing to train"):
        start(ClipLora(), folder, TASK, length=0)
    with pytest.raises(ConfigError, match="nothing to train"):
        start(TipAdapter(), folder, TASK, length=5)
