"""A sweep with two single-threaded workers of Ray, against one worker of one thread and of two."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Settings
from benchmarks.result import Row
from benchmarks.tables import Cases
from fewtune.datasets.samples import FASHION, load
from fewtune.strategies.clip_lora import ClipLora
from fewtune.sweeps.place import SweepPlace
from fewtune.sweeps.ray.cluster import RayRunner
from fewtune.sweeps.runner import Runner, in_process, run_of
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.job import Job
from fewtune.training.tracking import Tracker

TITLE = "A sweep of 8 runs (CLIP-LoRA, picto, 4 shots, 10 steps), once the workers have started"
RUNS, STEPS, SHOTS, WORKERS = 8, 10, 4, 2
REPEATS = 1  # the three of them take three minutes
AIM = 1.7


def cases(settings: Settings) -> Cases:
    """Return the one comparison."""
    return {"clip-lora": lambda: _rows(settings)}


def _rows(settings: Settings) -> list[Row]:
    places = [
        SweepPlace(on="ray", workers=workers, cpus_per_run=cpus)
        for workers, cpus in ((WORKERS, 1), (1, 1), (1, WORKERS))
    ]
    ours, one, wide = (_seconds(place, settings) for place in places)
    what = f"{RUNS} runs, {WORKERS} workers of 1 thread"
    return [
        Row(what, "1 worker of 1 thread", ours, one, "s", one / ours, AIM, "at least", REPEATS),
        Row(
            what, f"1 worker of {WORKERS} threads", ours, wide, "s", wide / ours,
            None, "at least", REPEATS,
        ),
    ]  # fmt: skip


def _seconds(place: SweepPlace, settings: Settings) -> float:
    """Return how long the runs of a sweep take after one run of each worker, in a new folder."""
    runs, steps = (1, 1) if settings.quick else (RUNS, STEPS)
    with tempfile.TemporaryDirectory() as folder, _runner(place, settings) as runner:
        for count, first in ((place.runs_here(), 1000), (runs, 0)):
            jobs = [_job(Path(folder), settings, steps, first + seed) for seed in range(count)]
            made = [run_of(job) for job in jobs]
            started = time.perf_counter()
            for outcome in runner(made):
                if outcome.record is None:
                    raise RuntimeError(outcome.error)
            taken = time.perf_counter() - started
        return taken


@contextlib.contextmanager
def _runner(place: SweepPlace, settings: Settings) -> Iterator[Runner]:
    if settings.quick:
        yield in_process(Tracker())
        return
    with contextlib.closing(RayRunner(place, print)) as runner:
        yield runner


def _job(folder: Path, settings: Settings, steps: int, seed: int) -> Job:
    recipe = ClipLora.recipe
    assert recipe is not None
    tiny = settings.quick
    return Job.of(
        ClipLora(),
        tiny_task() if tiny else load(FASHION),
        str(tiny_clip_folder(folder / "tiny", blocks=1)) if tiny else "picto",
        recipe.model_copy(update={"length": steps, "length_unit": "steps"}),
        shots=SHOTS,
        seed=seed,
        precision=settings.precision,
        device="cpu",
        cache_dir=folder / "cache",
        runs=folder / "runs",
    )
