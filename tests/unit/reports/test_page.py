"""The web page of a comparison and the quickstart that ends with it, on a random CLIP."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fewtune import quickstart
from fewtune.cli.quickstart import run as run_quickstart
from fewtune.cli.quickstart import show
from fewtune.cli.support.console import Console
from fewtune.core.errors import RunError
from fewtune.core.task import ClassSet, Task
from fewtune.reports.comparison_page import page, samples
from fewtune.reports.model_card import write_card
from fewtune.strategies.clip_adapter import ClipAdapter
from fewtune.strategies.linear_probe import LinearProbe
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.run import Job, Result, run
from fewtune.training.tracking import Tracker

NEXT = "fewtune fit --data MY_IMAGES --shots 16"
VOID = {"meta", "img", "br", "link", "hr"}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip_folder(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def task() -> Task:
    classes = ClassSet(("red", "<i>green</i>", "blue & violet"))
    return replace(tiny_task(), classes=classes, licence="CC0 1.0")


@pytest.fixture(scope="module")
def results(task: Task, backbone: str, tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    runs = tmp_path_factory.mktemp("page") / "runs"
    return [
        run(
            Job.of(
                kind(), task, backbone, shots=2, steps_scale=0.1, runs=runs, write_card=write_card
            ),
            Tracker(),
        )
        for kind in (ClipAdapter, LinearProbe)
    ]


class Checked(HTMLParser):
    """Collects tags and attributes, and insists that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_nothing_is_loaded_from_anywhere(results: list[Result], task: Task) -> None:
    text = page(results, "A title", NEXT, task)
    without_data = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?:|//\w|@import|url\(", without_data)
    for tag, attributes in Checked(text).tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:")


def test_numbers_are_those_of_the_records(results: list[Result], task: Task) -> None:
    text = page(results, "A title", NEXT, task)
    body = re.search(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    assert body
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in body[1].strip().splitlines()]
    records = [results[0].zero_shot, *(result.record for result in results)]
    assert [row[1] for row in rows] == [f"{100 * r['metrics']['top1']:.1f}" for r in records]
    assert [re.sub("<.*", "", row[0]) for row in rows] == [
        "Zero-shot CLIP", "CLIP-Adapter", "Linear probe",
    ]  # fmt: skip
    assert [row[8] for row in rows] == ["", "× 0.1", "× 0.1"]
    best = max(r["metrics"]["top1"] for r in records)
    marked = [r for r, row in zip(records, rows, strict=True) if "best" in row[0]]
    assert marked
    assert all(record["metrics"]["top1"] == best for record in marked)
    widths = re.findall(r'class="bar[^"]*" x="0" y="\d+" width="([\d.]+)%"', text)
    assert [float(w) for w in widths] == [
        pytest.approx(84 * r["metrics"]["top1"], abs=0.01) for r in records
    ]


def test_what_the_reader_must_know_is_said(results: list[Result], task: Task) -> None:
    text = page(results, "A title", NEXT, task)
    assert "The recipes are shortened" in text
    assert "pictogram" not in text
    assert NEXT in text
    assert "CC0 1.0" in text
    zero_shot = results[0].zero_shot
    embedded = zero_shot | {"spec": zero_shot["spec"] | {"backbone": "picto"}}
    about_picto = page([replace(result, zero_shot=embedded) for result in results], "T", NEXT)
    assert "This is a pictogram model." in about_picto
    assert "nothing about photographs" in about_picto


def test_names_cannot_act_as_markup(results: list[Result], task: Task) -> None:
    text = page(results, "<script>alert(1)</script>", NEXT, task)
    assert "<script>" not in text
    assert "<i>" not in text
    assert "&lt;i&gt;green&lt;/i&gt;" in text


def test_samples_are_the_first_of_each_class_with_both_predictions(
    results: list[Result], task: Task
) -> None:
    shown = samples(task, results[0].zero_shot, results[0])
    assert [sample.label for sample in shown] == list(task.classes.names)
    assert len({sample.image for sample in shown}) == len(shown)
    lines = (results[0].folder / "predictions.csv").read_text(encoding="utf-8").splitlines()[1:]
    first = {line.split(",")[1]: line.split(",")[2] for line in reversed(lines)}
    assert [sample.after for sample in shown] == [
        task.classes.names[int(first[str(label)])] for label in range(len(task.classes))
    ]


def test_runs_of_different_tasks_are_refused(results: list[Result]) -> None:
    other = replace(results[1], zero_shot=results[1].zero_shot | {"hash": "0" * 12})
    with pytest.raises(RunError, match="different zero-shot runs"):
        page([results[0], other], "T", NEXT)


def test_the_quickstart_writes_runs_and_a_page_and_repeats_itself(
    backbone: str,
    task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(quickstart, "STEPS_SCALE", {"linear-probe": 0.1, "clip-lora": 1e-4})
    monkeypatch.setattr("fewtune.quickstart.resolve", lambda name: task)
    run_quickstart(tmp_path, 5, backbone)
    out = capsys.readouterr().out
    html = (tmp_path / quickstart.PAGE).read_text(encoding="utf-8")
    assert str(tmp_path / quickstart.PAGE) in out
    assert out.splitlines()[-1].endswith(NEXT)
    names = sorted(p.name.rpartition("-")[0] for p in (tmp_path / quickstart.RUNS).iterdir())
    assert names == ["clip-lora-tiny", "linear-probe-tiny", "zero-shot-tiny"]
    table = [line for line in out.splitlines() if line.startswith(("Zero-shot", "Linear", "CLIP-"))]
    assert [line.split("  ")[0].split(" (")[0] for line in table] == [
        "Zero-shot CLIP", "Linear probe", "CLIP-LoRA",
    ]  # fmt: skip
    assert "x0.0001" in table[2]
    run_quickstart(tmp_path, 5, backbone)
    assert (tmp_path / quickstart.PAGE).read_text(encoding="utf-8") == html


def test_the_quickstart_says_that_picto_is_no_model_of_photographs(
    results: list[Result], capsys: pytest.CaptureFixture[str]
) -> None:
    record = results[0].record
    as_picto = record | {"spec": record["spec"] | {"backbone": "picto"}}
    show(Console(), [replace(results[0], record=as_picto)])
    assert "nothing about photographs" in capsys.readouterr().out
