"""A run knows where its backbone was found, and is told where it is now."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fewtune
from fewtune.core.errors import AdapterError
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.load_run import load_run


def test_a_run_finds_its_backbone_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_clip_folder(tmp_path / "clip")
    asked = {"precision": "fp32", "threads": 1, "length": 1, "length_unit": "steps"}
    result = fewtune.fit(tiny_task(), "clip-adapter", backbone="clip", runs="runs", **asked)
    folder = result.folder.absolute()
    monkeypatch.chdir(tmp_path / "runs")
    wanted = load_run(folder).scores(tiny_task().test)
    (tmp_path / "clip").rename(tmp_path / "moved")
    with pytest.raises(AdapterError, match="--backbone PATH"):
        load_run(folder)
    moved = load_run(folder, backbone=str(tmp_path / "moved"))
    assert torch.equal(moved.scores(tiny_task().test), wanted)
    assert moved.head.model.name == "clip"
    other = tiny_clip_folder(tmp_path / "other", seed=1)
    with pytest.raises(AdapterError, match="The run was trained on"):
        load_run(folder, backbone=str(other))
