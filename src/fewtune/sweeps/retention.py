"""What tuning on one task costs on the others: accuracy on their images before and after.

A run is measured on the test images of another task with that task's class prompts, and compared
with the zero-shot run there. Heads that only know their training classes cannot be measured.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewtune.core.files import read_json, write_sealed
from fewtune.core.spec import ZERO_SHOT
from fewtune.core.task import Task
from fewtune.sweeps.runner import SweepRun
from fewtune.sweeps.transfer_scores import read_scores
from fewtune.training.job import Job
from fewtune.training.tracking import Tracker

RETENTION = "retention.json"


@dataclass(frozen=True)
class Kept:
    """Top-1 on another task's test images, zero-shot and with the tuned model."""

    before: float
    after: float

    @property
    def change(self) -> float:
        """What tuning changed."""
        return self.after - self.before


def read_kept(folder: Path) -> dict[str, Kept]:
    """Return what was measured of a run on other tasks, by task."""
    path = folder / RETENTION
    return {name: Kept(**kept) for name, kept in read_json(path).items()} if path.exists() else {}


def measure(job: Job, run: Path, others: Mapping[Path, Task]) -> None:
    """Measure a complete run on other tasks and store in its folder what was kept there.

    Args:
        others: Tasks with test images, by the folder of their complete zero-shot run.

    Raises:
        RunError, AdapterError: The run cannot be loaded, or another process is working on it.
    """
    from fewtune.sweeps import transfer

    transfer.measure(job, run, list(others.values()), Tracker())
    after = read_scores(run)
    kept = read_kept(run) | {
        task.name: Kept(_before(folder, after[task.name]), top1)
        for folder, task in others.items()
        if (top1 := after[task.name]["top1"]) is not None
    }
    if kept:
        write_sealed(run / RETENTION, {name: vars(value) for name, value in sorted(kept.items())})


def _before(zero_shot: Path, score: Mapping[str, Any]) -> float:
    """Return the zero-shot score on the images that the tuned model was scored on."""
    if "zero_shot" in score:
        return float(score["zero_shot"])
    return float(read_json(zero_shot / "record.json")["metrics"]["top1"])


def measure_all(runs: Iterable[SweepRun]) -> None:
    """Measure every complete run of a sweep on the other tasks of the sweep."""
    done = [run for run in runs if run.status() == "done"]
    baselines = {run.baseline: run for run in done}  # a hash each: once, not for each pair
    for run in done:
        others = {
            folder: other.job.task
            for folder, other in baselines.items()
            if other.spec.task != run.spec.task
            and other.spec.backbone == run.spec.backbone
            and other.spec.precision == run.spec.precision
        }
        if run.spec.strategy != ZERO_SHOT:
            measure(run.job, run.folder, others)
