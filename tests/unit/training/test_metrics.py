"""Metrics against scikit-learn, and the calibration error against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from torch import Tensor

from fewtune.core.errors import RunError
from fewtune.strategies.linear_probe import LinearProbe
from fewtune.testing import tiny_clip, tiny_task
from fewtune.training.image_loader import ImageLoader
from fewtune.training.scoring import metrics, per_class_recall, scores


def calibration_by_hand(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    values = logits.double().numpy()
    shares = np.exp(values - values.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    confidence, hit = shares.max(1), shares.argmax(1) == labels.numpy()
    error = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    return error


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    """Of five classes: 0.2 = 3/15 is in bin 3, 0.25 in bin 4; 1 is in the bin of 0.97."""
    even, quarter = torch.zeros(5), torch.tensor([0.25] + [0.1875] * 4).log()
    logits, labels = torch.stack([even, quarter]), torch.tensor([1, 0])
    assert metrics(logits, labels)["calibration_error"] == pytest.approx((0.2 + 0.75) / 2)
    sure, nearly = torch.tensor([1000.0, 0.0]), torch.tensor([0.97, 0.03]).log()
    logits = torch.stack([sure, nearly])
    assert metrics(logits, labels)["calibration_error"] == pytest.approx((1 - 0.03) / 2)


def assert_as_scikit_learn(logits: Tensor, labels: Tensor) -> None:
    found = metrics(logits, labels)
    count, truth, guess = logits.shape[1], labels.numpy(), logits.argmax(1).numpy()
    present = np.unique(truth)
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, guess, labels=present, average="macro", zero_division=0
    )
    top5 = 1.0
    if count > 5:
        top5 = top_k_accuracy_score(truth, logits.numpy(), k=5, labels=np.arange(count))
    expected = {
        "top1": accuracy_score(truth, guess),
        "top5": top5,
        "recall": recall,
        "precision": precision,
        "f1": f1,
        "calibration_error": calibration_by_hand(logits, labels),
    }
    if len(present) == 1:  # every prediction of this class is right by construction
        expected |= {"precision": None, "f1": None}
    assert found == pytest.approx(expected, abs=1e-6)
    recalls = per_class_recall(logits, labels)
    assert [r is not None for r in recalls] == [label in present for label in range(count)]
    assert np.mean([r for r in recalls if r is not None]) == pytest.approx(recall, abs=1e-6)


@settings(max_examples=25)
@given(
    st.integers(2, 12),
    st.integers(1, 80),
    st.sampled_from([0.01, 1.0, 20.0, 400.0]),
    st.integers(0, 10_000),
)
def test_metrics_are_those_of_scikit_learn(
    classes: int, images: int, spread: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(images, classes, generator=generator)
    labels = torch.randint(0, classes, (images,), generator=generator)
    assert_as_scikit_learn(logits, labels)


def test_a_class_without_images_does_not_enter_the_averages() -> None:
    logits = torch.eye(4)[[0, 1, 3, 3]]
    labels = torch.tensor([0, 1, 1, 0])
    assert metrics(logits, labels)["recall"] == pytest.approx(0.5)
    assert per_class_recall(logits, labels) == [0.5, 0.5, None, None]
    assert_as_scikit_learn(logits, labels)


def test_logits_between_zero_and_one_are_not_taken_for_probabilities() -> None:
    logits = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 3
    expected = calibration_by_hand(logits, labels)
    assert metrics(logits, labels)["calibration_error"] == pytest.approx(expected)


def test_certain_and_right_is_calibrated_certain_and_wrong_is_not() -> None:
    logits = 1e4 * torch.eye(3)
    assert metrics(logits, torch.tensor([0, 1, 2]))["calibration_error"] == 0
    assert metrics(logits, torch.tensor([1, 2, 0]))["calibration_error"] == pytest.approx(1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_an_error(
    tmp_path_factory: pytest.TempPathFactory, bad: float
) -> None:
    task = tiny_task()
    head = LinearProbe().attach(tiny_clip(tmp_path_factory.mktemp("clip")), task.classes)
    with torch.no_grad():
        head.linear.bias[1] = bad
    with pytest.raises(RunError, match="not finite"):
        scores(head, task.classes, ImageLoader(task.test, head.model.preprocess), "fp32")
