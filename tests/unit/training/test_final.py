"""A final model is trained on all images and keeps the number that was measured before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fewtune
from fewtune.core.errors import ConfigError, DataError
from fewtune.core.files import read_json
from fewtune.exports import export_run
from fewtune.reports.study_runs import load_runs
from fewtune.testing import tiny_clip_folder, tiny_task
from fixtures import class_folders, split_folders

PETS = {"cat": 5, "dog": 5}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    backbone = str(tiny_clip_folder(tmp_path_factory.mktemp("backbone") / "clip"))
    short = {"length": 2, "length_unit": "steps", "views": 1}
    return {"backbone": backbone, "precision": "fp32", "threads": 1, **short}


def drawn(folder: Path) -> dict[str, list[str]]:
    stored = read_json(folder / "task.json")["drawn"]
    return {split: sorted(key for key, _ in rows) for split, rows in stored.items()}


def test_it_is_trained_on_all_images_and_says_what_was_measured_before(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    photos, runs = class_folders(tmp_path / "photos", PETS), tmp_path / "runs"
    settings = {"shots": 1, "final": True, "runs": runs, **asked}
    result = fewtune.fit(photos, "clip-adapter", **settings)
    final = result.final
    assert final is not None
    assert final.name.startswith("clip-adapter-photos-final-")
    keys = sorted(f"{name}/{index:02d}.png" for name in PETS for index in range(5))
    assert drawn(final) == {"train": keys, "val": []}

    record = read_json(final / "record.json")
    measured = record["measured"]
    assert record["metrics"] == {}
    assert measured["folder"] == result.folder.name
    assert measured["metrics"] == result.record["metrics"]
    assert measured["zero_shot"]["metrics"] == result.zero_shot["metrics"]
    card = (final / "README.md").read_text(encoding="utf-8")
    assert "These weights have not been measured.** They were trained on all 10 images" in card
    assert f"The numbers are those of `{result.folder.name}`: " in card
    assert f"{100 * result.record['metrics']['top1']:.1f} % top-1** on 2 test images" in card
    assert "summary.png" not in card

    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    assert fewtune.fit(photos, "clip-adapter", **settings).final == final
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_it_predicts_and_is_never_measured_on_what_it_has_learned(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    photos = class_folders(tmp_path / "photos", PETS)
    settings = {"final": True, "runs": tmp_path / "runs", **asked, "rank": 1}
    final = fewtune.fit(photos, "clip-lora", **settings).final
    assert final is not None
    assert fewtune.predict(final, photos, threads=1)[0].name in PETS
    assert (export_run(final, "peft", tmp_path / "peft") / "adapter_config.json").exists()
    with pytest.raises(DataError, match="learned from all of these 10 images"):
        fewtune.evaluate(final, photos, threads=1)
    runs, notes = load_runs([tmp_path / "runs"])
    assert final.name not in [run.folder.name for run in runs]
    assert notes == ["1 final model left out: trained on all images"]


@pytest.mark.parametrize(("strategy", "apart"), [("clip-adapter", False), ("tip-adapter", True)])
def test_validation_images_are_trained_on_unless_settings_are_chosen_on_them(
    asked: dict[str, Any], tmp_path: Path, strategy: str, apart: bool
) -> None:
    sizes = {"cat": 2, "dog": 2}
    photos = split_folders(tmp_path / "photos", train=sizes, val=sizes, test=sizes)
    options = {k: v for k, v in asked.items() if strategy != "tip-adapter" or "length" not in k}
    result = fewtune.fit(photos, strategy, final=True, runs=tmp_path / "runs", **options)
    assert result.record["task"]["validation_used"] is apart
    assert result.final is not None
    found = drawn(result.final)
    assert (len(found["train"]), len(found["val"])) == ((8, 4) if apart else (12, 0))


@pytest.mark.parametrize(
    ("strategy", "changed", "reason"),
    [
        ("zero-shot", {}, "zero-shot trains nothing"),
        ("clip-adapter", {"score_on": "val"}, "no test image enters the run"),
    ],
)
def test_what_has_no_final_model_is_refused_before_anything_is_made(
    asked: dict[str, Any], tmp_path: Path, strategy: str, changed: dict[str, Any], reason: str
) -> None:
    trained = {} if strategy == "zero-shot" else asked
    settings = {"final": True, "runs": tmp_path / "runs", **trained, **changed}
    with pytest.raises(ConfigError, match=f"no final model: .*{reason}"):
        fewtune.fit(tiny_task(), strategy, **settings)
    assert not (tmp_path / "runs").exists()


def test_several_seeds_and_benchmarks_have_no_final_model(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"final": True, "runs": tmp_path / "runs", **asked}
    with pytest.raises(ConfigError, match="seeds names several seeds"):
        fewtune.fit_seeds(tiny_task(), "clip-adapter", seeds=(1, 2), **settings)
    with pytest.raises(ConfigError, match="a benchmark"):
        fewtune.fit(replace(tiny_task(), benchmark=True), "clip-adapter", **settings)
    assert not (tmp_path / "runs").exists()
