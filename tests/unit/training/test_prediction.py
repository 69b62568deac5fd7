"""Predictions of many large photos need the memory of a few."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fewtune
from fewtune.data.decode import open_image
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training import prediction
from fewtune.training.load_run import load_run


def test_of_a_batch_only_the_views_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = str(tiny_clip_folder(tmp_path / "clip"))
    fitted = fewtune.fit(tiny_task(), "zero-shot", backbone=backbone, runs=tmp_path / "runs")
    decoded: list[weakref.ref[Image.Image]] = []

    def remembered(source: object) -> Image.Image:
        image = open_image(source)
        decoded.append(weakref.ref(image))
        return image

    monkeypatch.setattr(prediction, "open_image", remembered)
    photos = [np.zeros((50, 60, 3), np.uint8) for _ in range(20)]
    answers = prediction.predict(load_run(fitted.folder, "cpu"), photos, batch=20)
    assert next(answers).error is None
    assert len(decoded) == 20
    assert not [image for image in decoded if image() is not None]
