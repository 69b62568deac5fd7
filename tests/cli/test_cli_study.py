"""`sweep`, `report` and `cite`: many runs, and what they amount to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import Cli

from fewtune.core.files import read_json


def test_a_report_of_runs_is_written(cli: Cli, tuned: Path, place: Path) -> None:
    done = cli("report", tuned.parent, "-o", "out", "--title", "Pets <1>")
    assert done.status == 0, done.err
    assert "page     out/index.html" in done.out
    page = (place / "out" / "index.html").read_text(encoding="utf-8")
    assert "<title>Pets &lt;1&gt;</title>" in page
    assert page.index(">Zero-shot CLIP<") < page.index(">CLIP-LoRA<")


def test_packed_records_are_reported_like_folders(cli: Cli, tuned: Path, place: Path) -> None:
    assert "records  all.tar.xz" in cli("report", tuned.parent, "--records", "all.tar.xz").out
    assert cli("report all.tar.xz -o again").status == 0
    csv = (place / "again" / "runs.csv").read_text(encoding="utf-8")
    assert csv == (place / "report" / "runs.csv").read_text(encoding="utf-8")
    assert "writes a .tar.xz file, found all.csv" in cli("report all.tar.xz --records all.csv").err


def test_a_report_of_nothing_says_so(cli: Cli, place: Path) -> None:
    assert "There is no folder missing" in cli("report missing").err
    (place / "runs").mkdir()
    assert "no complete runs in runs" in cli("report").err


def test_runs_are_cited(cli: Cli, tuned: Path) -> None:
    done = cli("cite", tuned)
    assert done.status == 0
    assert "@inproceedings{zanella2024cliplora," in done.out
    assert "is not a run folder" in cli("cite", tuned.parent).err


@pytest.fixture
def grid(images: Path, backbone: Path, place: Path) -> Path:
    """A sweep of four runs, one of which diverges."""
    file = place / "grid.toml"
    file.write_text(
        f"""strategy = ["zero-shot", "linear-probe", "clipfit"]
data = "{images}"
backbone = "{backbone}"
shots = 1
seed = [1, 2]
precision = "fp32"
threads = 1
[linear_probe]
length = 2
length_unit = "steps"
[clipfit]
length = 3
length-unit = "steps"
optimizer = "sgd"
lr = 1e6
seed = 1
"""
    )
    return file


def test_a_sweep_makes_each_run_once_and_survives_a_failure(
    cli: Cli, grid: Path, place: Path
) -> None:
    planned = cli("sweep", grid, "--dry-run")
    assert "4 runs, 0 complete" in planned.out
    assert not (place / "runs").exists()
    first = cli("sweep", grid)
    assert first.status == 1, first.out
    failed = next((place / "runs").glob("clipfit-*"))
    assert "training diverged" in read_json(failed / "failure.json")["error"]
    assert f"failed: runs/{failed.name}" in first.out
    kept = {path: path.stat().st_mtime_ns for path in place.glob("runs/*/record.json")}
    assert len(kept) == 3
    second = cli("sweep", grid)
    assert "4 runs, 3 complete" in second.out
    assert {path: path.stat().st_mtime_ns for path in place.glob("runs/*/record.json")} == kept


def test_a_sweep_file_is_checked_before_anything_runs(cli: Cli, grid: Path, place: Path) -> None:
    grid.write_text(grid.read_text().replace("shots = 1", "shot = 1"))
    refused = cli("sweep", grid)
    assert refused.status == 2
    assert "unknown key 'shot'" in refused.err
    assert not (place / "runs").exists()


def test_retention_is_zero_for_what_changes_no_score(
    cli: Cli, images: Path, backbone: Path, place: Path
) -> None:
    shutil.copytree(images, place / "others")
    file = place / "grid.toml"
    file.write_text(
        f"""strategy = "clip-lora"
data = ["{images}", "others"]
backbone = "{backbone}"
shots = 1
precision = "fp32"
threads = 1
length = 1
length-unit = "steps"
lr = 1e-12
"""
    )
    done = cli("sweep --retention", file)
    assert done.status == 0, done.err
    kept = [read_json(path) for path in place.glob("runs/clip-lora-*/retention.json")]
    assert sorted(name for found in kept for name in found) == ["others", "pets"]
    assert all(score["before"] == score["after"] for found in kept for score in found.values())
