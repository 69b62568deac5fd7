"""`report` and `cite`: what finished runs amount to."""

from __future__ import annotations

from pathlib import Path

from commands import Cli


def test_a_report_of_runs_is_written(cli: Cli, tuned: Path, place: Path) -> None:
    done = cli("report", tuned.parent, "-o", "out", "--title", "Pets <1>")
    assert done.status == 0, done.err
    assert "page     out/index.html" in done.out
    page = (place / "out" / "index.html").read_text(encoding="utf-8")
    assert "<title>Pets &lt;1&gt;</title>" in page
    assert page.index("Zero-shot CLIP") < page.index("<td>CLIP-LoRA")


def test_a_report_of_nothing_says_so(cli: Cli, place: Path) -> None:
    assert "There is no folder missing" in cli("report missing").err
    (place / "runs").mkdir()
    assert "no complete runs in runs" in cli("report").err


def test_runs_are_cited(cli: Cli, tuned: Path) -> None:
    done = cli("cite", tuned)
    assert done.status == 0
    assert "@inproceedings{zanella2024cliplora," in done.out
    assert "is not a run folder" in cli("cite", tuned.parent).err
