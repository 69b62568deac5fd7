"""A run is forecast by probes that leave it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.cli.support.console import Console
from fewtune.cli.support.progress import Terminal
from fewtune.core.spec import Recipe
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.linear_probe import LinearProbe
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.forecast import forecast
from fewtune.training.job import Job
from fewtune.training.run import run
from fewtune.training.tracking import Forecast, Tracker


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip_folder(tmp_path_factory.mktemp("backbone") / "tiny"))


def job(backbone: str, runs: Path, strategy: object, steps: float = 4) -> Job:
    recipe = Recipe(length=steps, length_unit="steps", lr=1e-3, batch_size=8)
    trains = not isinstance(strategy, ZeroShot)
    return Job.of(
        strategy,  # type: ignore[arg-type]
        tiny_task(),
        backbone,
        recipe if trains else None,
        runs=runs,
        precision="fp32",
        no_cache=True,
    )


def test_twice_the_steps_take_more_and_nothing_is_written(backbone: str, tmp_path: Path) -> None:
    short, long = (forecast(job(backbone, tmp_path, ClipLora(), n)).seconds for n in (10, 10_000))
    assert long > 20 * short > 0
    assert forecast(job(backbone, tmp_path, ZeroShot())).seconds > 0
    assert forecast(job(backbone, tmp_path, LinearProbe())).seconds > 0
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_the_same_with_and_without_a_forecast(backbone: str, tmp_path: Path) -> None:
    plain = run(job(backbone, tmp_path / "a", ClipLora()), Tracker()).folder
    forecast(job(backbone, tmp_path / "b", ClipLora()))
    after = run(job(backbone, tmp_path / "b", ClipLora()), Tracker()).folder
    name = "adapter.safetensors"
    assert (plain / name).read_bytes() == (after / name).read_bytes()


def test_commands_that_take_minutes_are_named(backbone: str, tmp_path: Path) -> None:
    found = forecast(job(backbone, tmp_path, ClipLora(), 10_000_000))
    commands = [command for command, _ in found.shorter]
    assert [command.split()[2] for command in commands] == [
        "zero-shot",
        "linear-probe",
        "clip-lora",
    ]
    assert commands[2].startswith("fewtune fit clip-lora --time-budget 10m --data ")
    assert all(seconds < found.seconds / 2 for _, seconds in found.shorter)


@pytest.mark.parametrize("quiet", [False, True])
def test_long_runs_and_busy_machines_are_told(
    quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    shorter = (("fewtune fit zero-shot --data pets", 90.0),)
    found = Forecast(44 * 3600.0, 0.31, "cpu", "bf16", 1.5, shorter)
    Terminal(Console(quiet=quiet)).forecast(lambda: found)
    printed = capsys.readouterr().out
    assert ("about 44h00m in all on this machine: 0.31 s to encode an image" in printed) != quiet
    assert ("The machine is busy: 1.5 processes wait for each core." in printed) != quiet
    assert ("fewtune fit zero-shot --data pets  (about 1m30s)" in printed) != quiet
