"""One sweep, made in three ways: in one go, killed five times, and on Ray with a loss.

The command line runs in children, forked from a server that has imported everything, so a kill
costs no start-up; Ray starts processes of its own.
"""

from __future__ import annotations

import contextlib
import csv
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fewtune.core.files import read_json
from fewtune.testing import tiny_clip_folder
from fixtures import split_folders

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

KILLS = 5
CLASSES = ("bird", "cat", "dog")
CONTEXT: Any = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    "fewtune.cli.main fewtune.cli.support.sweep_run fewtune.sweeps.scheduler fewtune.testing "
    "matplotlib.pyplot torchmetrics.classification".split()
)


def sweep(place: Path, arguments: list[str]) -> None:
    """What a child does."""
    os.chdir(place)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # test workers ignore Ctrl-C
    from fewtune.cli.main import run

    with (place / "out.txt").open("a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        sys.stdout = sys.stderr = out
        status = run(["sweep", "grid.toml", *arguments])
    os._exit(status)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a backbone, a sweep of seven runs, and these runs made in one go."""
    root = tmp_path_factory.mktemp("sweeps")
    images = dict.fromkeys(CLASSES, 4)
    split_folders(root / "things", train=images, test=images)
    tiny_clip_folder(root / "backbone")
    (root / "grid.toml").write_text(
        """strategy = ["zero-shot", "clip-lora", "vpt-deep"]
data = "things"
backbone = "backbone"
shots = 2
seed = [1, 2, 3]
precision = "fp32"
threads = 1
[clip-lora]
length = 40
length-unit = "steps"
[vpt-deep]
length = 40
length-unit = "steps"
"""
    )
    assert ended(start(root, "whole")) == 0, (root / "out.txt").read_text()
    return root


def start(place: Path, runs: str, *arguments: str) -> Any:
    process = CONTEXT.Process(target=sweep, args=(place, [*arguments, "--runs", runs]))
    process.start()
    return process


def ended(process: Any) -> int:
    process.join(100)
    assert process.exitcode is not None
    return int(process.exitcode)


def records(runs: Path) -> int:
    return len(list(runs.glob("*/record.json")))


def training(runs: Path) -> bool:
    """Whether a run that has no record yet has made a few steps."""
    logs = (
        log for log in runs.glob("*/metrics.jsonl") if not (log.parent / "record.json").exists()
    )
    return any(log.read_text().count("\n") > 3 for log in logs)


def wait_for(moment: Callable[[], Any], process: Any) -> Any:
    deadline = time.monotonic() + 100
    while not (found := moment()):
        assert process.is_alive(), "the sweep ended before its moment came"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return found


def assert_equals_the_whole(place: Path, runs: str) -> None:
    whole = sorted((place / "whole").glob("*/record.json"))
    assert len(whole) == 7
    assert sorted(path.parent.name for path in (place / runs).glob("*/record.json")) == [
        path.parent.name for path in whole
    ]
    for path in whole:
        found = place / runs / path.parent.name
        assert {file.name for file in found.iterdir()} == {
            file.name for file in path.parent.iterdir()
        }
        assert read_json(found / "record.json")["metrics"] == read_json(path)["metrics"]
        assert predicted(found) == predicted(path.parent)
        expected = load_file(path.parent / "adapter.safetensors")
        tuned = load_file(found / "adapter.safetensors")
        assert tuned.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(tuned[name], value, rtol=0, atol=1e-5)


def predicted(run: Path) -> list[tuple[str, str]]:
    with (run / "predictions.csv").open(newline="") as file:
        return [(row["key"], row["prediction"]) for row in csv.DictReader(file)]


def test_a_sweep_that_is_killed_five_times_ends_in_the_same_runs(place: Path) -> None:
    runs = place / "killed"
    for done in range(1, KILLS + 1):
        process = start(place, "killed")
        wait_for(lambda done=done: records(runs) >= done and training(runs), process)
        process.kill()
        assert ended(process) == -signal.SIGKILL
        assert records(runs) < 7
    assert ended(start(place, "killed")) == 0
    assert_equals_the_whole(place, "killed")


def parents() -> Iterator[tuple[int, int, str]]:
    """Yield number, parent's number and command line of every process."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            yield int(folder.name), int(stat[1]), command


def workers(driver: int) -> list[int]:
    """Return the processes below a driver in which Ray is making a run."""
    every = {number: (parent, command) for number, parent, command in parents()}

    def below(number: int) -> bool:
        while number in every and number != driver:
            number = every[number][0]
        return number == driver

    return [n for n, (_, command) in every.items() if command.startswith("ray::work") and below(n)]


def test_a_sweep_on_ray_survives_a_worker(place: Path) -> None:
    runs = place / "ray"
    process = start(place, "ray", "--on", "ray", "--workers", "2")
    for worker in wait_for(lambda: training(runs) and workers(process.pid), process)[:1]:
        os.kill(worker, signal.SIGKILL)
    printed = place / "out.txt"
    assert ended(process) == 0, printed.read_text()
    assert "was lost; it is made again" in printed.read_text()
    assert_equals_the_whole(place, "ray")
