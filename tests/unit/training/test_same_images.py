"""Rows of a table are of the same images, and no image of training counts as a test image."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import fewtune
from fewtune.core.draws import few_shot
from fewtune.core.errors import DataError
from fewtune.core.files import read_json
from fewtune.core.splits import part_of
from fewtune.testing import tiny_clip_folder, tiny_task
from fixtures import class_folders, picture, split_folders, write_image

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


def test_images_of_training_are_left_out_whatever_their_names(
    backbone: str, tmp_path: Path
) -> None:
    photos = class_folders(tmp_path / "photos", {"cat": 10, "dog": 10})
    asked = {"backbone": backbone, "runs": tmp_path / "runs", **SETTINGS}
    result = fewtune.fit(photos, "clip-adapter", shots=2, **asked)
    renamed = tmp_path / "renamed"
    for file in photos.rglob("*.png"):
        target = renamed / file.parent.name / f"copy of {file.stem}.bmp"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).convert("RGB").save(target)
    found = fewtune.evaluate(result.folder, renamed, threads=1)
    # Without a test split all twenty are measured, but for the four that were drawn.
    drawn = sum(len(split) for split in _drawn(result.folder).values())
    assert (found.left_out, found.images) == (drawn, 20 - drawn)
    assert found.notes[0].startswith(f"{drawn} of 20 images were learned from")
    (result.folder / "seen.json").unlink()  # as runs of an earlier version: by name
    by_name = fewtune.evaluate(result.folder, photos, threads=1)
    assert by_name.left_out == drawn


@pytest.mark.parametrize("strategy", ["clip-lora", "clipfit", "coop", "linear-probe", "vpt-deep"])
def test_zero_shot_next_to_a_run_is_that_of_the_untouched_backbone(
    backbone: str, tmp_path: Path, strategy: str
) -> None:
    photos = split_folders(
        tmp_path / "photos", train={"cat": 4, "dog": 4}, test={"cat": 6, "dog": 6}
    )
    asked = {"backbone": backbone, "runs": tmp_path / "runs", "lr": 0.1, **SETTINGS}
    result = fewtune.fit(photos, strategy, shots=2, **asked)
    found = fewtune.evaluate(result.folder, photos, threads=1)
    assert found.metrics["zero-shot"] == pytest.approx(result.zero_shot["metrics"], abs=1e-5)
    assert found.metrics[strategy] == pytest.approx(result.record["metrics"], abs=1e-5)
    errors = [row["calibration_error"] for row in found.metrics.values()]
    assert errors[0] != errors[1]


def test_copies_that_were_resized_are_reported(backbone: str, tmp_path: Path) -> None:
    photos, copies = tmp_path / "photos", tmp_path / "copies"
    for name in ("cat", "dog"):
        for index in range(4):
            path = write_image(photos / name / f"{index}.png")
            large = picture((name, index), (7, 6)).resize((96, 96), Image.Resampling.BICUBIC)
            large.save(path)
            small = write_image(copies / name / f"small-{index}.jpg")
            large.resize((48, 48), Image.Resampling.LANCZOS).save(small, quality=85)
            other = write_image(copies / name / f"other-{index}.png")
            picture((name, "other", index), (7, 6)).resize((96, 96), 3).save(other)
    asked = {"backbone": backbone, "runs": tmp_path / "runs", **SETTINGS}
    result = fewtune.fit(photos, "clip-adapter", shots=3, **asked)
    drawn = {tuple(key.split("/")) for key, _ in _drawn(result.folder)["train"]}
    found = fewtune.evaluate(result.folder, copies, threads=1)
    wanted = {f"{name}/small-{file.removesuffix('.png')}.jpg" for name, file in drawn}
    assert wanted
    assert {key for key in found.similar if "other" in key} == set()
    assert set(found.similar) <= wanted
    assert found.left_out == 0


def test_a_run_that_knows_all_images_is_told_so(backbone: str, tmp_path: Path) -> None:
    task = tiny_task()
    result = fewtune.fit(task, "clip-adapter", backbone=backbone, runs=tmp_path, **SETTINGS)
    again = replace(task, test=task.train, train=())
    with pytest.raises(DataError, match="has learned from all of these 12 images"):
        fewtune.evaluate(result.folder, again)


def _drawn(folder: Path) -> dict[str, list[tuple[str, int]]]:
    drawn: dict[str, list[tuple[str, int]]] = read_json(folder / "task.json")["drawn"]
    return drawn


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_with_other_pixels_are_another_run(
    backbone: str, tmp_path: Path, split: str
) -> None:
    photos = split_folders(
        tmp_path / "photos", train={"cat": 2, "dog": 2}, test={"cat": 2, "dog": 2}
    )
    for file in list(photos.rglob("*.png")):
        Image.open(file).convert("RGB").save(file.with_suffix(".bmp"))
        file.unlink()

    def fit() -> fewtune.Result:
        asked = {"backbone": backbone, "runs": tmp_path / "runs", **SETTINGS}
        return fewtune.fit(photos, "clip-adapter", **asked)

    first = fit()
    for file in photos.rglob("*.bmp"):
        os.utime(file, ns=(1, 1))  # as a copy or a checkout does: the same images
    assert (fit().folder, fit().fresh) == (first.folder, False)
    for file in (photos / split).rglob("*.bmp"):
        Image.open(file).rotate(180).save(file)
    second = fit()
    assert second.fresh
    assert second.folder != first.folder
    assert (first.folder / "record.json").exists()
    assert second.record["spec"]["content"]
    assert not fit().fresh
    assert fit().folder == second.folder


def test_seeds_that_draw_the_scored_images_are_not_scored_on_each_others(
    backbone: str, tmp_path: Path
) -> None:
    asked = {"shots": 1, "score_on": "val", "backbone": backbone, "views": 1, **SETTINGS}
    task = tiny_task(train=10)
    together = fewtune.fit_seeds(task, "linear-probe", seeds=(0, 3), runs=tmp_path / "a", **asked)
    for seed, result in zip((0, 3), together, strict=True):
        alone = fewtune.fit(task, "linear-probe", seed=seed, runs=tmp_path / "b", **asked)
        assert _rows(result.folder) == _rows(alone.folder)
        assert result.record["task"]["scored"] == result.zero_shot["task"]["scored"]


@pytest.fixture(scope="module")
def two_classes(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("two")
    asked = {"backbone": backbone, "runs": place / "runs", **SETTINGS}
    photos = class_folders(place / "photos", {"cat": 4, "dog": 4})
    return fewtune.fit(photos, "clip-adapter", shots=2, **asked).folder


@pytest.mark.parametrize("prefix", ["", "test"])
def test_images_of_one_class_are_measured_among_the_classes_of_the_run(
    two_classes: Path, tmp_path: Path, prefix: str
) -> None:
    more = class_folders(tmp_path / "more", {"Dog": 6}, prefix=prefix)
    found = fewtune.evaluate(two_classes, more, threads=1)
    assert (found.classes, found.images) == (("cat", "dog"), 6)
    for metrics in found.metrics.values():
        assert metrics["recall"] == pytest.approx(metrics["top1"])
        # Nothing else could have been taken for a dog: the precision of any classifier is 100 %.
        assert metrics["precision"] is metrics["f1"] is None


def test_one_class_is_neither_trained_on_nor_chosen_among(
    two_classes: Path, tmp_path: Path
) -> None:
    more = class_folders(tmp_path / "more", {"emu": 3})
    with pytest.raises(DataError, match="has 1 class; a classifier needs at least 2"):
        fewtune.evaluate(two_classes, more, new_classes=True, threads=1)
    for strategy in ("zero-shot", "clip-adapter"):
        with pytest.raises(DataError, match="has 1 class; a classifier needs at least 2"):
            fewtune.fit(more, strategy, backbone="picto", runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
