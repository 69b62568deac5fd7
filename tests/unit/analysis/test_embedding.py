"""Two-dimensional pictures of image embeddings that can be compared."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from short_runs import Tuned

from fewtune.analysis import embedding_map
from fewtune.core.errors import DataError
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.tip_adapter_f import TipAdapterF
from fewtune.testing import tiny_clip
from fewtune.training.image_loader import ImageLoader


def test_features_are_those_of_the_backbone_and_of_the_tuned_model(
    tuned: Tuned, backbone: Path
) -> None:
    run = tuned(ClipLora(rank=4, alpha=2.0))
    assert run.execution is not None
    examples = run.execution.task.test[:3]
    before, after = embedding_map.features(run, examples)
    model = tiny_clip(backbone)
    pixels = ImageLoader(examples, model.preprocess).batch(range(3), None)
    with torch.no_grad():
        plain = F.normalize(model.net.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
    assert torch.allclose(before, plain, atol=1e-5)
    assert not torch.allclose(before, after, atol=1e-3)


def test_untouched_features_give_the_same_picture_twice(tuned: Tuned) -> None:
    found = embedding_map.embed(tuned(TipAdapterF()))
    assert found is not None
    assert found.kept == pytest.approx(1)
    assert found.separation[0] == found.separation[1]
    np.testing.assert_array_equal(found.before, found.after)


def test_places_are_repeatable_for_every_image(tuned: Tuned) -> None:
    run = tuned(ClipLora(rank=4, alpha=2.0))
    once, again = (embedding_map.embed(run, images=12) for _ in range(2))
    assert once is not None
    assert again is not None
    assert len(once.examples) == 12
    assert embedding_map.table(run, once) == embedding_map.table(run, again)
    assert not np.allclose(once.before, once.after)
    with pytest.raises(DataError, match="3 test images"):
        embedding_map.embed(run, images=3)


def test_umap_gets_the_shared_start_and_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    class Fake:
        def __init__(self, **options: Any) -> None:
            given.append(options)

        def fit_transform(self, z: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return z[:, :2]

    module = ModuleType("umap")
    module.UMAP = Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    before, after = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0))
    embedding_map.place(before, after, 7, "umap")
    _, first, second = given
    np.testing.assert_array_equal(first.pop("init"), second.pop("init"))
    assert first == second == {"n_neighbors": 8, "random_state": 7, "n_jobs": 1}
