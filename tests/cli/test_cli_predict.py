"""`fewtune predict`: every kind of source, every format, and what cannot be read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import CLASSES, Cli

from fewtune.core.errors import DataError
from fewtune.data.image_paths import expand
from fewtune.training.load_run import load_run
from fewtune.training.prediction import predict
from fixtures import encoded, flat_images, picture, write_image


def test_a_folder_with_a_run(cli: Cli, tuned: Path, images: Path) -> None:
    outcome = cli("predict", tuned, images / "test", "--format", "csv", "--top", "2")
    assert outcome.status == 0
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert [row["path"] for row in rows] == [str(p) for p in sorted(images.glob("test/*/*"))]
    assert list(rows[0]) == ["path", "class", "probability", "class_2", "probability_2"]
    assert {row["class"] for row in rows} <= set(CLASSES)
    assert all(float(row["probability"]) >= float(row["probability_2"]) for row in rows)


def test_predictions_are_those_of_the_run(cli: Cli, tuned: Path, images: Path) -> None:
    outcome = cli("predict", tuned, images / "test", "--format", "jsonl")
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    with (tuned / "predictions.csv").open(newline="") as file:
        recorded = {row["key"]: row for row in csv.DictReader(file)}
    assert len(lines) == len(recorded) == 9
    for line in lines:
        row = recorded[Path(line["path"]).relative_to(images).as_posix()]
        assert line["class"] == CLASSES[int(row["prediction"])]
        assert line["probability"] == pytest.approx(float(row["confidence"]), abs=2e-6)


def test_zero_shot_without_a_run(cli: Cli, backbone: Path, images: Path) -> None:
    paths = sorted(images.glob("test/cat/*"))
    outcome = cli("predict --classes", "cat, dog", "--backbone", backbone, *paths)
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert len(lines) == 3
    assert all(line.split()[1] in ("cat", "dog") for line in lines)
    assert [Path(line.split()[-1]) for line in lines] == paths


def test_broken_files_are_skipped_with_status_3(
    cli: Cli, tuned: Path, images: Path, place: Path
) -> None:
    (place / "zero.jpg").write_bytes(b"")
    (place / "cut.png").write_bytes(encoded(picture(1, (90, 90)))[:300])
    (place / "empty").mkdir()
    sources = ["zero.jpg", next(images.glob("test/cat/*")), "cut.png", "empty", "nope.png"]
    outcome = cli("predict", tuned, *sources, "--batch", "2", "--format", "jsonl")
    assert outcome.status == 3
    assert len(outcome.out.splitlines()) == 1
    errors = outcome.err.splitlines()
    assert any("zero.jpg: the file is empty" in line for line in errors)
    assert any("cut.png" in line for line in errors)
    assert "skipped: empty is a folder without images." in errors
    assert "skipped: nope.png does not exist." in errors
    assert errors[-1] == "skipped 4 that could not be read"


def test_paths_on_stdin_and_a_file_for_output(
    cli: Cli, tuned: Path, images: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(images.glob("test/dog/*"))
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(str, paths)) + "\n\n"))
    outcome = cli("predict", tuned, "-", "-o", "labels.csv")
    assert outcome.status == 0
    assert outcome.out == ""
    assert outcome.err == "wrote 3 predictions to labels.csv\n"
    rows = list(csv.DictReader((place / "labels.csv").read_text().splitlines()))
    assert [Path(row["path"]) for row in rows] == paths


def test_an_interrupted_output_leaves_the_old_file(
    cli: Cli, tuned: Path, images: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "labels.csv").write_text("old")

    def stop(*_: object) -> Iterator[None]:
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr("fewtune.training.prediction.predict", stop)
    assert cli("predict", tuned, images, "-o", "labels.csv").status == 130
    assert (place / "labels.csv").read_text() == "old"
    assert sorted(p.name for p in place.iterdir()) == ["labels.csv"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("predict", "A run or an image is missing."),
        ("predict runs/x", "A run or an image is missing."),
        ("predict --classes a,b", "A run or an image is missing."),
        ("predict --classes a photo.jpg", "photo.jpg does not exist."),
        ("predict --template {} r p.jpg", "--template goes with --classes"),
        ("predict --classes a,b *.jpg", "*.jpg matches no image."),
        ("predict --format xml r p", "--format has no 'xml'."),
        ("predict --top 0 r p", "--top must be a whole number at least 1"),
    ],
)
def test_refusals(cli: Cli, line: str, message: str) -> None:
    outcome = cli(line)
    assert outcome.status == 2
    assert message in outcome.err


def test_runs_are_named_by_path_name_or_hash(
    cli: Cli, tuned: Path, images: Path, place: Path
) -> None:
    image = next(images.glob("test/cat/*"))
    (place / "runs").symlink_to(tuned.parent)
    for name in (tuned.name, tuned.name[-12:], tuned.name[-12:-6]):
        assert cli("predict", name, image).status == 0
    outcome = cli("predict", tuned.name.replace("lora", "lroa"), image)
    assert outcome.status == 2
    assert f"Did you mean 'runs/{tuned.name}'?" in outcome.err
    assert "is not a run folder" in cli("predict", images, image).err


def test_one_class_is_refused(cli: Cli, images: Path) -> None:
    outcome = cli("predict --classes cat", images)
    assert "--classes names 1 class; at least 2 are needed." in outcome.err


def test_a_newer_run_is_refused(cli: Cli, tuned: Path, images: Path, place: Path) -> None:
    run = place / "newer"
    run.mkdir()
    (run / "spec.json").write_text('{"format": 99}')
    outcome = cli("predict", run, images)
    assert outcome.status == 2
    assert "has format 99" in outcome.err


def test_anything_that_holds_pixels_can_be_predicted(tuned: Path, images: Path) -> None:
    path = next(images.glob("test/cat/*"))
    array = np.asarray(picture(("test", "cat", 0)))
    sources = [path, str(path), path.read_bytes(), array, array.astype(float)]
    found = list(predict(load_run(tuned, "cpu"), sources, batch=2, top=9))
    assert [p.error is None for p in found] == [True] * 4 + [False]
    assert "float64" in str(found[-1].error)
    assert found[-1].label is None
    assert len({p.probability for p in found[:3]}) == 1
    assert sum(share for _, share in found[0].top) == pytest.approx(1)
    assert found[0].top[0] == (found[0].name, found[0].probability)


def test_predict_reads_no_further_than_it_must(tuned: Path, images: Path) -> None:
    taken: list[int] = []

    def endless() -> Iterator[Path]:
        path = next(images.glob("test/cat/*"))
        for index in range(10**9):
            taken.append(index)
            yield path

    predictions = predict(load_run(tuned, "cpu"), endless(), batch=4)
    assert [next(predictions).label for _ in range(5)]
    assert len(taken) == 8


def test_expand(place: Path) -> None:
    flat_images(place, ["b/2.png", "b/1.png", "a/x/3.jpg", "b/.hidden/4.png", "lone.png"])
    (place / "b" / "notes.txt").write_text("no image")
    (place / "b" / "loop").symlink_to(place / "b")
    write_image(place / "[1].png")
    assert list(map(str, expand(["b", "lone.png", "b/notes.txt"]))) == [
        "b/1.png", "b/2.png", "lone.png", "b/notes.txt",
    ]  # fmt: skip
    assert list(map(str, expand(["a"]))) == ["a/x/3.jpg"]
    assert list(map(str, expand(["*/*.png"]))) == ["b/1.png", "b/2.png"]
    assert list(map(str, expand(["?"]))) == ["a/x/3.jpg", "b/1.png", "b/2.png"]
    assert list(map(str, expand(["[1].png"]))) == ["[1].png"]
    for nothing in ("none", "*.gif", "a\0b"):
        with pytest.raises(DataError):
            list(expand([nothing]))
