"""Runs become a page that needs nothing else, and files whose bytes follow from the runs."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest

from fewtune.core.errors import ConfigError
from fewtune.core.files import write_json, write_text
from fewtune.protocols.few_shot import FewShot
from fewtune.reports.figures import is_svg
from fewtune.reports.study_report import write_report
from studies import Writer

GROUPS = {"flowers": "natural", "spheres": "structured"}
DRAWING = (
    '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" class="alone" width="9">'
    '<desc>dots</desc><g id="figure_1"><path id="dot" d="M0 0"/><use href="#dot"/></g></svg>'
)


def test_the_report_is_self_contained_and_repeats_byte_for_byte(runs: Path, tmp_path: Path) -> None:
    first, second = (write_report([runs], tmp_path / name, GROUPS) for name in ("one", "two"))
    for file in sorted(first.parent.iterdir()):
        assert file.read_bytes() == (second.parent / file.name).read_bytes(), file.name
    page = first.read_text(encoding="utf-8")
    linked = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith(("#", "data:")) for link in linked)
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in linked if link.startswith("#")} <= set(ids)
    assert (
        page.count('<img src="data:image/svg+xml;base64,') == 5
    )  # curves, gains, cost, and recalls of each task
    assert (first.parent / "runs.csv").read_text().count("\n") == 1 + 8
    assert (first.parent / "tiny-accuracy-4.csv").read_text().startswith(",flowers,spheres")
    assert pyarrow.parquet.read_table(first.parent / "runs.parquet").num_rows == 8
    assert "![Accuracy against shots](tiny-shots.svg)" in (first.parent / "report.md").read_text()


def test_several_backbones_analyses_and_differences_have_their_places(
    write: Writer, tmp_path: Path
) -> None:
    for backbone in ("ViT-B16", "tiny"):
        notes = ["prompts: clip-lora"]
        write.run("zero-shot", "fewshot-dtd", 0.2, backbone=backbone, notes=notes)
        for shots in (1, 4):
            write.run("linear-probe", "fewshot-dtd", 0.3, backbone=backbone, shots=shots)
    folder = write.run("clip-adapter", "fewshot-dtd", 0.4, predictions=[(0, 1), (1, 1)])
    protocol = FewShot(strategies=("clip-adapter",), data=("fewshot/dtd",), shots=(4,), seeds=(1,))
    (case,) = (case for case in protocol.cases() if case.strategy == "clip-adapter")
    remembered = {"protocol": "few-shot", "fields": protocol.model_dump(mode="json"),
                  "runs": {case.key(): folder.name}, "tasks": []}  # fmt: skip
    write_json(write.folder / "protocol.json", {"protocols": [remembered]})
    write_text(folder / "analysis" / "drift.svg", DRAWING)
    write_text(folder / "analysis" / "broken.svg", "<svg><g></svg>")
    page = write_report([write.folder], tmp_path / "out", GROUPS).read_text(encoding="utf-8")
    titles = ("Published scores", "Benchmarks", "All backbones", "Accuracy with tiny",
              "Accuracy with ViT-B16", "Analyses")  # fmt: skip
    places = [page.index(f">{title}</h2>") for title in titles]
    assert places == sorted(places)
    assert "Few-shot classification, 4 shots" in page
    assert "1 score differs from what was published" in page
    assert "Zero-shot CLIP, ViT-B16, fewshot-dtd: 20.0 here, 43.6 published." in page
    assert f"Drift: {folder.name}" in page
    assert "broken" not in page
    assert "Largest confusions: fewshot-dtd" in page


@pytest.mark.parametrize(
    "inner",
    [
        "<script>alert(1)</script>",
        '<script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script>',
        '<g onload="alert(1)"/>',
        '<image href="http://example.com/x.png"/>',
        "<style>@import 'http://example.com/x.css';</style>",
        "<desc><![CDATA[x><script>alert(1)</script>]]></desc>",
        "<?x ><script>alert(1)</script>?>",
    ],
)
def test_a_drawing_of_others_is_an_image_where_nothing_runs(
    write: Writer, tmp_path: Path, inner: str
) -> None:
    folder = write.run("clip-adapter", "fewshot-dtd", 0.4)
    write_text(folder / "analysis" / "drift.svg", DRAWING.replace("<g ", f"{inner}<g "))
    page = write_report([write.folder], tmp_path / "out", GROUPS).read_text(encoding="utf-8")
    shown = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]*)" alt="Drift: [^"]*">', page)
    assert [inner in base64.b64decode(image).decode() for image in shown] == [True]
    assert not [word for word in ("alert", "example.com", "<script", "<svg") if word in page]


def test_what_is_a_drawing() -> None:
    assert is_svg(DRAWING)
    assert not any(map(is_svg, ("<html></html>", "<svg><g></svg>", "", "svg")))


def test_a_report_replaces_an_earlier_one_and_nothing_else(runs: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_text(site / "index.html", "mine")
    with pytest.raises(ConfigError, match="other files than those of a report"):
        write_report([runs], site, GROUPS)
    assert [path.name for path in site.iterdir()] == ["index.html"]

    out = tmp_path / "out"
    write_report([runs], out, GROUPS)
    write_text(out / "notes.txt", "mine")
    first = {path.name for path in out.iterdir()}
    for folder in runs.glob("clip-adapter-*"):
        shutil.rmtree(folder)  # the only runs of one shot
    write_report([runs], out, GROUPS)
    second = {path.name for path in out.iterdir()}
    assert second < first
    assert "tiny-accuracy-1.csv" in first - second
    assert (out / "notes.txt").read_text() == "mine"
