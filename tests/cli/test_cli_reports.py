"""`evaluate`, `list`, `data` and `export` on finished runs and small folders."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from commands import CLASSES, Cli, short

from fewtune.core.files import read_json, write_json
from fewtune.data.decode import open_image
from fixtures import class_folders, split_folders, write_image


def test_recorded_metrics(cli: Cli, tuned: Path) -> None:
    outcome = cli("evaluate", tuned)
    assert outcome.status == 0
    assert outcome.out.index("zero-shot") < outcome.out.index("clip-lora")
    value = json.loads(cli("evaluate --json", tuned).out)
    assert value["record"] == read_json(tuned / "record.json")
    assert value["zero_shot"]["spec"]["strategy"] == "zero-shot"


def test_measured_again_on_its_own_test_images(cli: Cli, tuned: Path, images: Path) -> None:
    outcome = cli("evaluate --json --device cpu", tuned, "--data", images)
    assert outcome.status == 0, outcome.err
    value = json.loads(outcome.out)
    assert value["images"] == 9
    recorded = json.loads(cli("evaluate --json", tuned).out)
    for row, record in (("zero-shot", "zero_shot"), ("clip-lora", "record")):
        assert value["metrics"][row] == pytest.approx(recorded[record]["metrics"], abs=1e-4)


def test_classes_are_matched_by_name(cli: Cli, tuned: Path, place: Path) -> None:
    class_folders(place / "some", {"Dog": 2, "bird": 3})
    outcome = cli("evaluate --json", tuned, "--data", place / "some")
    assert outcome.status == 0, outcome.err
    value = json.loads(outcome.out)
    assert value["classes"] == list(CLASSES)
    assert value["images"] == 5


def test_unknown_classes_need_a_word(cli: Cli, tuned: Path, place: Path) -> None:
    class_folders(place / "other", {"dgo": 2, "horse": 2})
    outcome = cli("evaluate", tuned, "--data", place / "other")
    assert outcome.status == 2
    assert "class 'dgo', which the run does not know. Did you mean 'dog'?" in outcome.err
    outcome = cli("evaluate --json --new-classes", tuned, "--data", place / "other")
    assert outcome.status == 0, outcome.err
    assert json.loads(outcome.out)["classes"] == ["dgo", "horse"]


@pytest.mark.usefixtures("baseline")
def test_a_linear_head_knows_no_new_classes(
    cli: Cli, images: Path, backbone: Path, place: Path
) -> None:
    cli("fit linear-probe --views 1 --quiet", *short(images, backbone))
    run = next((place / "runs").glob("linear-probe-*"))
    assert cli("evaluate", run, "--data", images).status == 0
    class_folders(place / "other", {"cow": 2, "horse": 2})
    outcome = cli("evaluate --new-classes", run, "--data", place / "other")
    assert outcome.status == 2
    assert "only knows its 3 training classes" in outcome.err


def test_evaluate_refuses_what_is_no_complete_run(cli: Cli, images: Path, place: Path) -> None:
    assert "is not a run folder" in cli("evaluate", images).err
    outcome = cli("evaluate nothing")
    assert outcome.status == 2
    assert "There is no run 'nothing'." in outcome.err


def test_list_runs(cli: Cli, tuned: Path) -> None:
    outcome = cli("list runs", tuned.parent)
    assert outcome.status == 0
    assert tuned.name in outcome.out
    found = json.loads(cli("list runs --json", tuned.parent).out)
    assert {run["strategy"] for run in found} == {"zero-shot", "clip-lora"}
    assert all(run["complete"] and 0 <= run["top1"] <= 1 for run in found)


def test_list_runs_survives_a_damaged_one(cli: Cli, place: Path) -> None:
    write_json(place / "runs" / "bad" / "spec.json", {"strategy": "x"})
    (place / "runs" / "notes").mkdir()
    outcome = cli("list runs")
    assert outcome.status == 0
    assert "warning: bad:" in outcome.err


def test_list_backbones_tells_what_a_checkpoint_says(cli: Cli, backbone: Path) -> None:
    out = cli("list backbones", backbone).out
    for fact in ("activation", "pooling", "logit scale", "mean", "size px", "interpolation"):
        assert fact in out
    value = json.loads(cli("list backbones --verbose --json").out)
    assert value["ViT-B16"]["available"] is False
    assert "hf download openai/clip-vit-base-patch16" in value["ViT-B16"]["status"]


def test_list_strategies_with_their_flags(cli: Cli) -> None:
    assert "--rank [2]" in cli("list strategies --verbose").out
    value = json.loads(cli("list strategies --verbose --json").out)
    assert value["clipfit"]["fields"]["--lambda"]["default"] == 8.0
    assert value["zero-shot"]["recipe"] is None
    assert set(json.loads(cli("list --json").out)) == {
        "strategies",
        "backbones",
        "data",
        "protocols",
        "trackers",
    }


def test_data_verify_says_1_when_something_is_wrong(cli: Cli, place: Path) -> None:
    root = split_folders(place / "pets", train={"cat": 2, "dog": 2}, test={"cat": 1, "dog": 1})
    assert cli("data verify", root).status == 0
    write_image(root / "test" / "dog" / "leak.png", ("train", "dog", 0))
    outcome = cli("data verify", root)
    assert outcome.status == 1
    assert "error: 1 picture both in the test split and in another" in outcome.out
    value = json.loads(cli("data verify --json", root).out)
    assert value["findings"][0]["kind"] == "leak"


def test_data_verify_warns_of_few_shots(cli: Cli, images: Path) -> None:
    outcome = cli("data verify --shots 16", images)
    assert outcome.status == 0
    assert "3 classes with fewer than 16 training images" in outcome.out


def test_data_info_counts(cli: Cli, images: Path) -> None:
    outcome = cli("data info", images)
    assert outcome.status == 0
    assert "layout: split folders" in outcome.out
    counts = json.loads(cli("data info --json", images).out)["counts"]
    assert counts == {"train": dict.fromkeys(CLASSES, 4), "test": dict.fromkeys(CLASSES, 3)}


@pytest.mark.parametrize("verb", ["data verify", "data info", "fit --data"])
def test_folders_that_cannot_be_read(cli: Cli, place: Path, verb: str) -> None:
    (place / "empty").mkdir()
    outcome = cli(verb, place / "empty")
    assert outcome.status == 2
    assert "holds no class folders" in outcome.err


def test_export_writes_a_folder(cli: Cli, tuned: Path, place: Path) -> None:
    outcome = cli("export", tuned, "--to", "hf", "-o", place / "merged")
    assert outcome.status == 0, outcome.err
    assert outcome.out == f"wrote {place / 'merged'}\n"
    assert (place / "merged" / "config.json").exists()


def test_export_knows_its_formats(cli: Cli, tuned: Path) -> None:
    outcome = cli("export", tuned, "--to", "tflite", "-o", "x")
    assert outcome.status == 2
    assert "--to has no 'tflite'." in outcome.err


@pytest.mark.parametrize("other", [False, True])
def test_evaluate_writes_classes_confusions_and_predictions(
    cli: Cli, tuned: Path, images: Path, place: Path, other: bool
) -> None:
    data = ("--data", images) if other else ()
    outcome = cli("evaluate", tuned, *data, "-o", place / "out")
    assert outcome.status == 0, outcome.err
    assert f"wrote {place / 'out' / 'per_class.csv'}" in outcome.out

    def read(name: str) -> list[dict[str, str]]:
        text = (place / "out" / name).read_text(encoding="utf-8")
        return list(csv.DictReader(text.splitlines()))

    classes, confusion = read("per_class.csv"), read("confusion.csv")
    assert [row["class"] for row in classes] == ["bird", "cat", "dog"]
    assert {"recall zero-shot", "recall clip-lora", "precision", "F1"} <= set(classes[0])
    for row, counts in zip(classes, confusion, strict=True):
        images_of = sum(int(counts[name]) for name in ("bird", "cat", "dog"))
        assert images_of == int(row["images"]) == 3
        assert float(row["recall clip-lora"]) == round(int(counts[row["class"]]) / 3, 4)
    assert len(read("predictions.csv")) == 9


def test_evaluate_reads_an_image_once_for_both_rows(
    cli: Cli, tuned: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []

    def counted(source: Any) -> Any:
        read.append(source)
        return open_image(source)

    monkeypatch.setattr("fewtune.training.image_loader.open_image", counted)
    assert cli("evaluate", tuned, "--data", images).status == 0
    assert len(read) == 9
