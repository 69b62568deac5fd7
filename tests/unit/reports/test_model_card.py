"""The model card of a run, from real runs of a random CLIP."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fewtune.core.files import read_json
from fewtune.core.percentages import interval
from fewtune.core.task import ClassSet
from fewtune.reports.model_card import CLASSES_NAMED, model_card, write_card
from fewtune.strategies.clip_adapter import ClipAdapter
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.run import Job, Result, run
from fewtune.training.tracking import Tracker


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("card")
    task = tiny_task()
    # Names that would break a table, a heading or a page if they were not escaped.
    names = ("red|pipe", "<script>green", "# *blue*")
    task = replace(
        task, classes=ClassSet(names, ("a photo of {}.", "`{}`")), licence="MIT, (c) 2017 X"
    )
    job = Job.of(
        ClipAdapter(ratio=0.5), task, str(tiny_clip_folder(folder / "backbone")),
        shots=2, seed=3, steps_scale=0.1, runs=folder / "runs",
        write_card=write_card,
    )  # fmt: skip
    return run(job, Tracker())


def front_matter(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    return {
        key: json.loads(value)
        for key, value in (line.split(": ", 1) for line in head.strip().splitlines())
    }


def sections(text: str) -> list[str]:
    return [line[3:] for line in text.splitlines() if line.startswith("## ")]


def test_a_run_has_a_card_and_a_picture(result: Result) -> None:
    text = (result.folder / "README.md").read_text(encoding="utf-8")
    assert "](summary.png)" in text
    assert (result.folder / "summary.png").exists()
    assert sections(text) == [
        "Results", "Use", "What was trained", "Data", "Cost and environment", "Limits",
    ]  # fmt: skip


def test_results_are_those_of_the_record_with_zero_shot_first(result: Result) -> None:
    text = (result.folder / "README.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == ["| Zero-shot CLIP", "| CLIP-Adapter"]
    for row, record in zip(rows, (result.zero_shot, result.record), strict=True):
        assert row[1] == f"{100 * record['metrics']['top1']:.1f}"
        low, high = interval(record["metrics"]["top1"], record["task"]["images"]["test"])
        assert row[2] == f"{100 * low:.1f} to {100 * high:.1f}"
        assert row[4] == f"{100 * record['metrics']['recall']:.1f}"
    assert f"{result.record['cost']['trained_parameters']:,}" in text


def test_what_differs_from_the_full_recipe_is_said(result: Result) -> None:
    text = (result.folder / "README.md").read_text(encoding="utf-8")
    assert "multiplied by 0.1 " in text
    assert "not a result of the full recipe" in text
    assert "`ratio = 0.5`" in text
    assert "2 shots per class, seed 3" in text


def test_a_search_is_a_line(result: Result) -> None:
    trials = [{"values": {"lr": 1e-3}, "top1": 0.5}, {"values": {"lr": 1.0}, "error": "nan"}]
    search = {"method": "grid", "chosen": {"lr": 1e-3}, "top1": 0.5, "tied": 1, "trials": trials}
    task = read_json(result.folder / "task.json")
    text = model_card("run", result.record | {"search": search}, result.zero_shot, task)
    line = "lr 0.001: best of 2 trials (grid) with 50.0 % of the validation images; 1 failed"
    assert f"- search: {line}" in text


def test_names_cannot_act_as_markup(result: Result) -> None:
    text = (result.folder / "README.md").read_text(encoding="utf-8")
    assert r"red\|pipe, \<script\>green, \# \*blue\*" in text
    assert "`` `{}` ``" in text
    assert "(c) 2017 X" in text


def test_the_zero_shot_run_has_a_card_of_its_own(result: Result) -> None:
    (folder,) = result.folder.parent.glob("zero-shot-*")
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "nothing was trained" in text
    assert "against zero-shot CLIP" not in text
    assert "multiplied" not in text


def test_front_matter_of_a_published_backbone(result: Result) -> None:
    text = _card(result, backbone="ViT-B16")
    assert front_matter(text) == {
        "library_name": "fewtune",
        "base_model": "openai/clip-vit-base-patch16",
        "license": "mit",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["clip", "few-shot", "clip-adapter"],
        "metrics": ["accuracy", "recall", "precision", "f1"],
    }
    assert "pictogram" not in text


def test_unknown_licences_are_left_out(result: Result) -> None:
    found = front_matter((result.folder / "README.md").read_text(encoding="utf-8"))
    assert "license" not in found
    assert found["base_model"] == "backbone"
    assert front_matter(_card(result, backbone="/gone/away"))["base_model"] == "away"


def test_picto_is_called_a_pictogram_model(result: Result) -> None:
    text = _card(result, backbone="picto")
    assert "pictograms" in text
    assert "nothing about photographs" in text


def test_a_linear_head_is_no_zero_shot_classifier(result: Result) -> None:
    text = _card(result, strategy="linear-probe", options={})
    assert front_matter(text)["pipeline_tag"] == "image-classification"
    assert "and no others" in text


def test_a_thousand_classes_do_not_fill_the_card(result: Result) -> None:
    task = read_json(result.folder / "task.json")
    task["classes"] = [f"class {i}" for i in range(1000)]
    text = model_card("run", result.record, result.zero_shot, task)
    assert f"class {CLASSES_NAMED - 1} and 980 more" in text
    assert f"class {CLASSES_NAMED}," not in text


def test_classes_without_test_images_are_a_limit(result: Result) -> None:
    record = result.record | {"per_class": [None, 0.5, None]}
    task = read_json(result.folder / "task.json")
    assert "2 classes have no test images" in model_card("run", record, result.zero_shot, task)


def _card(result: Result, **changes: Any) -> str:
    record = result.record | {"spec": result.record["spec"] | changes}
    return model_card("run", record, result.zero_shot, read_json(result.folder / "task.json"))
