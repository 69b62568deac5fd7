"""`sweep` with a table [search]: trials on validation images first, then final runs of the best."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import Cli

from fewtune.core.files import read_json, write_json


@pytest.fixture
def file(images: Path, backbone: Path, place: Path) -> Path:
    """A search of one rate, of which a large one diverges, and a strategy that is not searched."""
    path = place / "search.toml"
    path.write_text(
        f"""strategy = ["linear-probe", "clip-adapter"]
data = "{images}"
backbone = "{backbone}"
shots = 1
seed = [1, 2]
precision = "fp32"
threads = 1
length = 6
length-unit = "steps"
[clip-adapter]
optimizer = "sgd"
[search]
seed = 5
[search.clip_adapter]
lr = [1e6, 1e-3]
weight_decay = [1e6, 0]
"""
    )
    return path


def records(place: Path, pattern: str) -> list[dict[str, object]]:
    return [read_json(path) for path in sorted(place.glob(f"runs/{pattern}/record.json"))]


def test_the_best_values_are_run_and_recorded(
    cli: Cli, file: Path, place: Path, images: Path
) -> None:
    assert "2 runs, 0" in cli("sweep --dry-run --strategies linear-probe", file).out
    planned = cli("sweep", file, "--dry-run")
    assert "6 runs, 0 complete" in planned.out
    assert "2 more follow" in planned.out
    done = cli("sweep", file)
    assert done.status == 1
    assert "failed: runs/clip-adapter-pets-val-" in done.out
    final = [r for r in records(place, "clip-adapter-pets-*") if "search" in r]
    assert [record["spec"]["seed"] for record in final] in ([1, 2], [2, 1])  # type: ignore[index]
    search = final[0]["search"]
    assert isinstance(search, dict)
    assert final[1]["search"] == search
    assert len(search["trials"]) == 4
    assert "The loss became" in search["trials"][0]["error"]
    best = max(t["top1"] for t in search["trials"] if "top1" in t)
    assert (search["top1"], search["seed"]) == (best, 5)
    assert {t["top1"] for t in search["trials"] if t["values"] == search["chosen"]} == {best}
    options = final[0]["spec"]["recipe"]  # type: ignore[index]
    assert {key: options[key] for key in search["chosen"]} == search["chosen"]
    chosen = [line for line in done.out.splitlines() if line.startswith("chosen: ")]
    assert len(chosen) == 1
    assert f"clip-adapter on {images}, 1 shot: lr" in chosen[0]
    assert "best of 4 trials (grid)" in chosen[0]
    assert "1 failed" in chosen[0]
    trials = records(place, "clip-adapter-pets-val-*")
    assert {record["spec"]["seed"] for record in trials} == {5}  # type: ignore[index]
    assert all(record["task"]["images"]["test"] == 3 for record in trials)  # type: ignore[index]

    # What is lost is made again, and no other; a record that was made before a search learns of it.
    kept = {path: path.read_bytes() for path in place.glob("runs/*/record.json")}
    lost = next(path for path in kept if b'"search"' in kept[path])
    shutil.rmtree(lost.parent)
    other = next(path for path in kept if b'"search"' in kept[path] and path != lost)
    write_json(other, {key: v for key, v in read_json(other).items() if key != "search"})
    assert "6 runs, 5 complete" in cli("sweep", file).out  # a trial that failed is tried again
    assert read_json(other)["search"] == search
    assert read_json(lost)["metrics"] == json.loads(kept[lost])["metrics"]


def test_without_a_good_trial_there_is_no_final_run(cli: Cli, file: Path, place: Path) -> None:
    file.write_text(
        file.read_text()
        .replace('["linear-probe", "clip-adapter"]', '"clip-adapter"')
        .replace("[1e6, 1e-3]", "[1e6]")
        .replace("[1e6, 0]", "[1e6]")
    )
    done = cli("sweep", file)
    assert done.status == 1
    assert "All 1 trials of the search failed, the first with: The loss became" in done.out
    failures = [read_json(path) for path in place.glob("runs/clip-adapter-*/failure.json")]
    assert sorted(failure.get("case", {}).get("seed", 0) for failure in failures) == [0, 1, 2]
    file.write_text(file.read_text().replace("[1e6]", "[1e-3]"))
    assert cli("sweep", file).status == 0
    assert not [f for f in place.glob("runs/*/failure.json") if "case" in read_json(f)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight_decay", "weight_decays", "unknown key 'weight-decays'"),
        ("[1e6, 0]", "[-1]", "weight"),
        ("[1e6, 0]", '["much"]', "'much'"),
        ("weight_decay = [1e6, 0]", "threads = [1, 2]", "threads does not decide"),
        ("[search.clip_adapter]", "[search.clip_lora]", "is of no strategy of this sweep"),
    ],
)
def test_values_are_checked_before_anything_runs(
    cli: Cli, file: Path, place: Path, old: str, new: str, message: str
) -> None:
    file.write_text(file.read_text().replace(old, new))
    refused = cli("sweep", file)
    assert refused.status == 2
    assert message in refused.err
    assert not (place / "runs").exists()


def test_a_damaged_record_stops_neither_the_sweep_nor_its_report(
    cli: Cli, file: Path, place: Path
) -> None:
    flags = ("--strategies", "linear-probe")
    assert cli("sweep", file, *flags).status == 0
    damaged, other = place.glob("runs/linear-probe-*")
    record = (damaged / "record.json").read_text()
    (damaged / "record.json").write_text(record.replace('"top1": 0.', '"top1": 1.', 1))
    shutil.rmtree(other)
    again = cli("sweep", file, *flags)
    assert again.status == 1
    assert f"failed: runs/{damaged.name}: runs/{damaged.name}/record.json is not what" in again.out
    assert (other / "record.json").exists()
    assert cli("report", "runs", "-o", "out").status == 0
    assert f"unreadable, left out: {damaged.name}" in (place / "out" / "index.html").read_text()
