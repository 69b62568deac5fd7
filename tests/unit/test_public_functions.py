"""The command line's work from Python: fit, predict, evaluate, export, sweep and report."""

from __future__ import annotations

from pathlib import Path

import pytest

import fewtune
from fewtune.core.errors import ConfigError, DataError
from fewtune.core.task import Task
from fewtune.data.findings import DataReport
from fewtune.data.verify import DataListener
from fewtune.testing import tiny_clip_folder, tiny_task
from fixtures import split_folders

SETTINGS = {"shots": 1, "precision": "fp32", "threads": 1, "length": 2, "length_unit": "steps"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    return split_folders(folder, train={"cat": 2, "dog": 2}, test={"cat": 2, "dog": 2})


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip_folder(tmp_path_factory.mktemp("backbone") / "clip"))


class Heard(DataListener):
    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.reports: list[DataReport] = []

    def opened(self, task: Task) -> None:
        self.tasks.append(task)

    def checked(self, report: DataReport) -> None:
        self.reports.append(report)


def test_a_run_from_folder_to_prediction(images: Path, backbone: str, tmp_path: Path) -> None:
    heard = Heard()
    asked = {**SETTINGS, "backbone": backbone, "runs": tmp_path / "runs", "ratio": 0.5}
    result = fewtune.fit(images, "clip-adapter", listener=heard, **asked)
    assert [task.classes.names for task in heard.tasks] == [("cat", "dog")]
    assert len(heard.reports) == 1
    spec = result.record["spec"]
    assert (spec["shots"], spec["options"], spec["recipe"]["length"]) == (1, {"ratio": 0.5}, 2)
    assert (result.folder / "README.md").exists()
    assert not fewtune.fit(images, "clip-adapter", **asked).fresh

    files = sorted((images / "test").rglob("*.png"))
    predictions = fewtune.predict(result.folder, files, top=2, threads=1)
    assert [p.source for p in predictions] == files
    below = fewtune.predict(result.folder, str(images / "test"), threads=1)
    assert [p.source for p in below] == files
    with pytest.raises(DataError, match="single image"):
        fewtune.predict(result.folder, files[0].read_bytes())
    assert all(len(p.top) == 2 for p in predictions)
    rows = fewtune.evaluate(result.folder, images, device="cpu", precision="fp32").metrics
    assert list(rows) == ["zero-shot", "clip-adapter"]
    assert rows["clip-adapter"] == pytest.approx(result.record["metrics"])
    right = sum(p.name == p.source.parent.name for p in predictions) / len(files)
    assert rows["clip-adapter"]["top1"] == pytest.approx(right)


def test_seeds_are_runs_of_their_own(backbone: str, tmp_path: Path) -> None:
    runs = fewtune.fit_seeds(
        tiny_task(), "linear-probe", seeds=(1, 2), backbone=backbone, runs=tmp_path, **SETTINGS
    )
    assert [run.record["spec"]["seed"] for run in runs] == [1, 2]
    assert len({run.folder for run in runs}) == 2


def test_an_export_is_written(images: Path, backbone: str, tmp_path: Path) -> None:
    asked = {**SETTINGS, "backbone": backbone, "runs": tmp_path / "runs"}
    result = fewtune.fit(images, "clip-lora", **asked)
    folder = fewtune.export(result.folder, "hf", tmp_path / "clip")
    assert (folder / "model.safetensors").exists()


def test_a_protocol_and_its_report(images: Path, backbone: str, tmp_path: Path) -> None:
    asked = {"seeds": [1], "data": [str(images)], "shots": [1], "strategies": ["linear-probe"]}
    shared = {"backbone": backbone, "precision": "fp32", "threads": 1, "steps_scale": 0.1}
    made = fewtune.sweep("own", runs=tmp_path / "runs", **asked, **shared)
    assert len(made.folders) == 2
    assert made.failed == ()
    assert [row.title for row in made.tables[0].rows] == [
        "Zero-shot CLIP",
        "Linear probe",
    ]
    page = fewtune.report(tmp_path / "runs", tmp_path / "report")
    assert page.exists()
    assert (tmp_path / "report" / "report.md").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shot": 4}, r"clip-lora has no option 'shot'\. Did you mean"),
        ({"shots": 0}, "^shots must be a whole number at least 1, found '0'"),
        ({"precision": "fp16"}, "^precision has no 'fp16'"),
        ({"rank": "many"}, "^rank must be a whole number from 1 to 1024, found 'many'"),
        ({"epochs": 2, "length": 3}, "length of training is given twice"),
    ],
)
def test_wrong_values_are_refused_as_keywords(
    values: dict[str, object], message: str, backbone: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fewtune.fit(tiny_task(), "clip-lora", backbone=backbone, **values)


def test_a_class_that_the_run_does_not_know_is_named(
    backbone: str, images: Path, tmp_path: Path
) -> None:
    result = fewtune.fit(tiny_task(), "zero-shot", backbone=backbone, runs=tmp_path)
    with pytest.raises(DataError, match="which the run does not know"):
        fewtune.evaluate(result.folder, images)


def test_lengths_have_units_of_their_own() -> None:
    config = fewtune.RunConfig.of({"epochs": "3", "rank": 4})
    assert config.named_options() == {"rank": 4, "length": 3.0, "length_unit": "epochs"}
    config = fewtune.RunConfig.of({"steps": 20, "templates": "first", "time-budget": "1h30m"})
    assert config.named_options() == {"length": 20.0, "length_unit": "steps"}
    assert (config.ensemble, config.time_budget_s) == (False, 5400.0)
