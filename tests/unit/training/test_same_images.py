"""Rows of a table are of the same images, and no image of training counts as a test image."""

from __future__ import annotations

from pathlib import Path

import pytest

import fewtune
from fewtune.core.draws import few_shot
from fewtune.core.task import part_of
from fewtune.testing import tiny_clip_folder, tiny_task

SETTINGS = {"precision": "fp32", "threads": 1, "length": 2, "length_unit": "steps"}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip_folder(tmp_path_factory.mktemp("backbone") / "clip"))


@pytest.mark.parametrize("seed", [0, 3])
def test_zero_shot_is_scored_on_the_validation_images_that_are_drawn(
    backbone: str, tmp_path: Path, seed: int
) -> None:
    task = tiny_task(train=10)
    asked = {"shots": 1, "seed": seed, "score_on": "val", "backbone": backbone, **SETTINGS}
    result = fewtune.fit(task, "clip-adapter", runs=tmp_path, **asked)
    drawn = few_shot(part_of(task, scored_on="val"), 1, seed)
    for record in (result.record, result.zero_shot):
        assert record["task"]["images"]["test"] == len(drawn.test) == len(task.classes)
    assert result.record["task"]["scored"] == result.zero_shot["task"]["scored"]
    keys = {line.split(",")[0] for line in _rows(result.folder)}
    assert keys == {example.key for example in drawn.test}
    zero_shot = next(tmp_path.glob("zero-shot-*"))
    assert keys == {line.split(",")[0] for line in _rows(zero_shot)}


def _rows(folder: Path) -> list[str]:
    return (folder / "predictions.csv").read_text(encoding="utf-8").splitlines()[1:]
