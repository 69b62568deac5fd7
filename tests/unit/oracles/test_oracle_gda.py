"""GDA in numpy, by the formulas of its paper and in double precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.model.towers import Activations
from fewtune.strategies.gda import Gda
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.scoring import encode_classes

SUPPORT = tiny_task().support()  # 3 classes, 4 images each
LABELS = torch.tensor([example.label for example in SUPPORT.train])
VIEWS = 10
Array = np.ndarray


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("closed") / "clip")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(x: Tensor) -> Array:
    array = x.double().numpy()
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def fitted(folder: Path, strategy: Strategy) -> tuple[Head, Array, Array]:
    """A head, its normalised training views (n, D), and their labels (n,)."""
    head = strategy.attach(tiny_clip(folder), SUPPORT.classes).eval()
    # Class means that differ, so that there is something to find.
    z = noise(len(LABELS), VIEWS, 16) + 2 * noise(3, 1, 16, seed=1)[LABELS]
    head.prepare(z, LABELS)
    return head, unit(z).reshape(-1, 16), np.repeat(LABELS.numpy(), VIEWS)


def scored(head: Head, z: Tensor) -> tuple[Array, Array]:
    """Logits of a head, and zero-shot CLIP's cosines by hand."""
    text = encode_classes(head, SUPPORT.classes, "fp32")
    assert text is not None
    images = Activations(head.model.image, z, len(head.model.image.stages()))
    return head(images, text).logits.numpy(), unit(z) @ unit(text.embeddings()).T


def gaussian(x: Array, labels: Array) -> Callable[[Array], Array]:
    """Log-posteriors up to a constant, as a function of normalised embeddings."""
    mu = np.stack([x[labels == label].mean(0) for label in range(3)])
    covariance = np.cov(x - mu[labels], rowvar=False)
    n, d = x.shape
    precision = d * np.linalg.pinv((n - 1) * covariance + np.trace(covariance) * np.eye(d))
    constants = np.array([np.log(1 / 3) - m @ precision @ m / 2 for m in mu])
    return lambda f: f @ precision @ mu.T + constants


@torch.no_grad()
def test_gaussians(folder: Path) -> None:
    head, x, labels = fitted(folder, Gda(alpha=0.5))
    z = noise(7, 16, seed=2)
    found, cosines = scored(head, z)
    expected = head.model.logit_scale * cosines + 0.5 * gaussian(x, labels)(unit(z))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_the_first_best_alpha_is_taken(folder: Path) -> None:
    head, x, labels = fitted(folder, Gda())
    truth = torch.arange(30) % 3
    z = noise(30, 16, seed=3) + 2 * noise(3, 16, seed=1)[truth]
    images = Activations(head.model.image, z, len(head.model.image.stages()))
    head.tune_on_validation(images, encode_classes(head, SUPPORT.classes, "fp32"), truth)
    _, cosines = scored(head, z)
    gaussians = gaussian(x, labels)(unit(z))
    hits = {
        alpha: (
            (head.model.logit_scale * cosines + alpha * gaussians).argmax(1) == truth.numpy()
        ).sum()
        for alpha in (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
    }
    best = next(alpha for alpha, count in hits.items() if count == max(hits.values()))
    assert head.alpha.item() == pytest.approx(best)  # type: ignore[operator, union-attr]
    assert min(hits.values()) < max(hits.values())
