"""`sweep --runs URL` and the flags of Ray."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import Cli

from fewtune.sweeps.shared_store import SharedStore, mirror


@pytest.fixture
def grid(images: Path, backbone: Path, place: Path) -> Path:
    """A sweep of one run without training."""
    file = place / "grid.toml"
    file.write_text(
        f"""strategy = "zero-shot"
data = "{images}"
backbone = "{backbone}"
precision = "fp32"
threads = 1
runs = "memory://cli/study"
"""
    )
    return file


def test_a_sweep_keeps_its_runs_at_a_url(cli: Cli, grid: Path, place: Path) -> None:
    local = mirror("memory://cli/study")
    done = cli("sweep", grid)
    assert done.status == 0, done.err
    assert f"next  fewtune report {local}" in done.out
    assert not (place / "runs").exists()
    names = SharedStore("memory://cli/study").complete()
    assert len(names) == 1
    shutil.rmtree(local)  # another machine
    again = cli("sweep", grid, "--dry-run")
    assert "1 run, 1 complete" in again.out
    assert {path.parent.name for path in local.glob("*/record.json")} == names
    shutil.rmtree(local)


def test_flags_that_do_not_go_together_are_refused(
    cli: Cli, grid: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--cpus-per-run is for runs on Ray. Add --on ray." in cli(
        "sweep", grid, "--cpus-per-run", 2
    ).err  # fmt: skip
    assert "--batched makes many runs in one process" in cli(
        "sweep", grid, "--on", "ray", "--batched"
    ).err  # fmt: skip
    monkeypatch.setattr("fewtune.sweeps.place.find_spec", lambda name: None)
    refused = cli("sweep", grid, "--on", "ray")
    assert refused.status == 2
    assert 'Ray is not installed. Try: pip install "fewtune[ray]"' in refused.err
    refused = cli("fit", "zero-shot", "--data", images, "--runs", "s3://bucket/study")
    assert "--runs must be a folder, found 's3://bucket/study'" in refused.err
