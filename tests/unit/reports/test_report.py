"""Runs become a page that needs nothing else, and files whose bytes follow from the runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest

from fewtune.core.errors import ConfigError
from fewtune.core.files import write_json, write_text
from fewtune.protocols.few_shot import FewShot
from fewtune.reports.figures import inline_svg
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
    assert page.count("<svg") == 5  # curves, gains, cost, and recalls of each task
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
    titles = ("Published scores", "Benchmarks", "All backbones", "Accuracy with ViT-B16",
              "Accuracy with tiny", "Analyses")  # fmt: skip
    places = [page.index(f">{title}</h2>") for title in titles]
    assert places == sorted(places)
    assert "Few-shot classification, 4 shots" in page
    assert "1 score differs from what was published" in page
    assert "Zero-shot CLIP, ViT-B16, fewshot-dtd: 20.0 here, 43.6 published." in page
    assert f"Drift: {folder.name}" in page
    assert "broken" not in page
    assert "Largest confusions: fewshot-dtd" in page


def test_drawings_on_one_page_share_no_names() -> None:
    shown = inline_svg(DRAWING, "one", 'dots & "more"')
    assert 'id="one-dot"' in shown
    assert 'href="#one-dot"' in shown
    assert "figure_1" not in shown
    assert 'aria-label="dots &amp; &#34;more&#34;"' in shown
    assert inline_svg("<html></html>", "one", "") == ""


@pytest.mark.parametrize(
    "inner",
    [
        "<script>alert(1)</script>",
        '<script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script>',
        "<foreignObject/>",
        '<g onload="alert(1)"/>',
        '<image href="http://example.com/x.png"/>',
        '<image href="data:image/svg+xml;base64,"/>',
        '<g style="fill: url(http://example.com/x)"/>',
        "<style>@import 'http://example.com/x.css';</style>",
        "<desc><![CDATA[x><script>alert(1)</script>]]></desc>",
        "<?x ><script>alert(1)</script>?>",
    ],
)
def test_drawings_that_run_or_fetch_something_are_not_shown(inner: str) -> None:
    assert inline_svg(DRAWING, "one", "")
    assert inline_svg(DRAWING.replace("<g ", f"{inner}<g "), "one", "") == ""


def test_comments_are_left_out() -> None:
    hidden = DRAWING.replace("<g ", "<!--><script>alert(1)</script>--><g ")
    assert inline_svg(hidden, "one", "") == inline_svg(DRAWING, "one", "") != ""


def test_instructions_before_a_drawing_are_not_followed() -> None:
    styled = DRAWING.replace("<svg", '<?xml-stylesheet href="http://example.com/x.css"?><svg', 1)
    assert inline_svg(styled, "one", "") == ""


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
