"""Acts that write files: a run in one and in two phases, sweeps, exports, a download, and more."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fewtune.cli.main import run as command_line
from fewtune.core.discovery import plugins
from fewtune.core.spec import Recipe
from fewtune.datasets import catalog
from fewtune.datasets.declaration import Download
from fewtune.datasets.download import http_file
from fewtune.datasets.download.fetch_dataset import download
from fewtune.model.strategy import Phase
from fewtune.reports.model_card import write_card
from fewtune.strategies.clip_adapter import ClipAdapter
from fewtune.strategies.clip_lora import ClipLora
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training import disk_cache
from fewtune.training.job import Job
from fewtune.training.run import run as run_job
from fewtune.training.tracking import Tracker
from fixtures import class_folders, split_folders
from miniatures.hub import serve

STEPS = 8


class TwoPhases(ClipAdapter):
    """Half of the steps for each of two phases."""

    def phases(self, recipe: Recipe) -> tuple[Phase, ...]:
        (phase,) = super().phases(recipe)
        second = Phase(
            "again", lambda model, classes, head: head or self.attach(model, classes), recipe
        )
        return replace(phase, name="first"), second


@dataclass(frozen=True)
class Act:
    """Something that writes files.

    Attributes:
        run: Does it in the current folder.
        prepare: Makes what it needs there, once.
        processes: How many do it at the same time.
    """

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = field(default=lambda: None)
    processes: int = 1


def job(strategy: Any, **settings: Any) -> None:
    recipe = type(strategy).recipe
    changes = {"length": STEPS, "length_unit": "steps", "batch_size": 6}
    made = Job.of(
        strategy,
        tiny_task(),
        "backbone",
        recipe.model_copy(update=changes),
        device="cpu",
        precision="fp32",
        threads=1,
        runs=Path("runs"),
        checkpoint_interval_s=0.0,
        **settings,
    )
    known = strategy.name() in plugins("strategies")
    run_job(replace(made, write_card=write_card) if known else made, Tracker())


def call(*arguments: str) -> None:
    if status := command_line([*arguments]):
        sys.exit(status)


def images() -> None:
    counts = {"cat": 4, "dog": 4}
    split_folders(Path("images"), train=counts, test=counts)
    tiny_clip_folder(Path("backbone"), blocks=2)


def finished() -> None:
    """Two finished runs: an act then writes something of them."""
    images()
    tuned("clip-lora")


def tuned(strategy: str, *more: str) -> None:
    flags = ["--data", "images", "--backbone", "backbone", "--shots", "2", "--precision", "fp32"]
    steps = ["--length", str(STEPS), "--length-unit", "steps", "--threads", "1", "--quiet"]
    call("fit", strategy, *flags, *steps, *more)


SWEEP = f"""
strategy = ["zero-shot", "clip-adapter", "linear-probe"]
data = "images"
backbone = "backbone"
shots = 2
seed = [1, 2]
precision = "fp32"
threads = 1
device = "cpu"
[clip-adapter]
length = {STEPS}
length-unit = "steps"
[linear-probe]
length = {STEPS}
length-unit = "steps"
"""


def sweep_file() -> None:
    images()
    Path("sweep.toml").write_text(SWEEP)


def filled_cache() -> None:
    disk_cache.DiskCache.__init__.__kwdefaults__["least_s"] = 0.0
    disk_cache.READING_BYTES_PER_S = float("inf")
    tuned("linear-probe", "--views", "1", "--cache", "kept")


def exported(to: str) -> None:
    run = next(Path("runs").glob("clip-lora-*"))
    if not Path("out").exists():
        call("export", str(run), "--to", to, "-o", "out")


def predicted() -> None:
    run = next(Path("runs").glob("clip-lora-*"))
    call("predict", str(run), "images", "--batch", "2", "-o", "out.csv")


def published() -> None:
    folder = class_folders(Path("web"), dict.fromkeys(map(str, range(10)), 8))
    with tarfile.open(folder / "photos.tar", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.add(path, path.relative_to(folder).as_posix())


def downloaded() -> None:
    os.environ.pop("HF_HUB_OFFLINE", None)
    http_file.BLOCK_BYTES = 4096
    with serve(Path("web").resolve()) as web:
        found = Path("web/photos.tar").read_bytes()
        checksum = f"sha256:{hashlib.sha256(found).hexdigest()}"
        # The address names the note that a finished download leaves, so it is always the same.
        address = "http://archive.invalid"
        file = Download(
            f"{address}/photos.tar", "photos.tar", len(found), checksum=checksum, unpack="photos"
        )
        fetch = http_file._open
        http_file._open = lambda url, headers: fetch(url.replace(address, web.url), headers)
        download(replace(catalog.load("vtab/dtd"), by_hand="", downloads=(file,)), Path("data"))


ACTS = (
    Act("fit", functools.partial(job, ClipLora()), images),
    Act("fit, two phases", functools.partial(job, TwoPhases()), images),
    Act("fit, 3 processes", functools.partial(job, ClipLora()), images, processes=3),
    Act("sweep", lambda: call("sweep", "sweep.toml", "--quiet"), sweep_file),
    Act("sweep, batched", lambda: call("sweep", "sweep.toml", "--quiet", "--batched"), sweep_file),
    Act("sweep, 2 processes", lambda: call("sweep", "sweep.toml", "--quiet"), sweep_file, 2),
    Act("cache filling", filled_cache, images),
    Act("cache filling, 5 processes", filled_cache, images, processes=5),
    Act("predict -o", predicted, finished),
    Act("export --to hf", functools.partial(exported, "hf"), finished),
    Act("export --to peft", functools.partial(exported, "peft"), finished),
    Act("report", lambda: call("report", "runs", "-o", "out"), finished),
    Act("data sample", lambda: Path("out").exists() or call("data", "sample", "out")),
    Act("download", downloaded, published),
)
