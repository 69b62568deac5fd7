"""What a worker of a cluster does: one run, made in a folder of its own machine.

Nothing but the standard library and `sweeps.ray.code_sync` is imported before a run arrives, so
that a machine with another FewTune can say so.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.sweeps.ray.code_sync import Sources, unpack

if TYPE_CHECKING:
    from fewtune.core.task import Task
    from fewtune.sweeps.runner import SweepRun
    from fewtune.sweeps.shared_store import SharedStore
    from fewtune.training.job import Job

CUDA_SHARE = 0.9  # of a part of a GPU, for what is not counted as allocated


@dataclass(frozen=True)
class Order:
    """What a worker is told.

    Attributes:
        run: The pickled run, without its tasks.
        folder: Where the sweep was started: what relative paths begin at.
        cpus: Threads that it may use.
        memory_mib: Its share of a machine's memory, by the id that Ray gives the machine.
        place: Where the run is to be stored; "" if the workers see the sweep's own folder.
        mark: What stands in that place, so that another one is not taken for it.
    """

    run: bytes
    folder: str
    cpus: int
    gpus: float
    memory_mib: Mapping[str, float]
    place: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Report:
    """What a worker answers.

    Attributes:
        record: Of the run; None if it failed, or is being made by another process.
        failure: Contents of failure.json; None unless it failed.
    """

    record: dict[str, Any] | None
    failure: dict[str, Any] | None = None
    seconds: float = 0.0
    busy: bool = False


# What this process has unpacked already for the sweep that it works for.
_unpacked: list[Sources] = []


def wrap(run: SweepRun) -> tuple[bytes, list[Task]]:
    """Return a run without its tasks, which several runs share, and these tasks."""
    job = {name: value for name, value in vars(run.job).items() if name != "task"}
    return pickle.dumps((job, run.spec, run.missing)), [run.job.task, *run.elsewhere]


def unwrap(data: bytes, tasks: list[Task]) -> SweepRun:
    """Return the run that was wrapped; the classes of its strategy must be importable."""
    from fewtune.sweeps.runner import SweepRun
    from fewtune.training.job import Job

    job, spec, missing = pickle.loads(data)
    return SweepRun(Job(task=tasks[0], **job), spec, tuple(tasks[1:]), missing)


def work(order: Order, sources: Sources, *tasks: bytes) -> Report:
    """Make a run; whatever goes wrong is in the report."""
    started = time.perf_counter()
    try:
        if sources not in _unpacked:
            unpack(sources)
            _unpacked.append(sources)
        with contextlib.suppress(OSError):  # another machine: then paths must be absolute
            os.chdir(order.folder)
        run = unwrap(order.run, [_task(task) for task in tasks])
        report = _make(order, run)
    except Exception as error:
        from fewtune.sweeps.runner import failure_of

        report = Report(None, failure_of(error))
    if report.failure and order.place:
        text = f"{report.failure['error']} (on {platform.node()})"
        report = replace(report, failure={**report.failure, "error": text})
    return replace(report, seconds=time.perf_counter() - started)


@functools.lru_cache(maxsize=4)
def _task(data: bytes) -> Task:
    task: Task = pickle.loads(data)
    return task


def _make(order: Order, run: SweepRun) -> Report:
    from fewtune.core.files import digest
    from fewtune.core.paths import cache_dir
    from fewtune.sweeps.shared_store import SharedStore

    for task in (run.job.task, *run.elsewhere):
        check_data(task)
    run = replace(run, job=fitted(run, order))
    check_backbone(run)
    if not order.place:
        return _attempt(run)
    store = SharedStore(order.place)
    store.check(order.mark)
    return made_here(run, store, cache_dir() / "work" / digest(order.place)[:16])


def made_here(run: SweepRun, store: SharedStore, runs: Path) -> Report:
    """Make a run in a folder of this machine and store it, its zero-shot run first.

    What was stored leaves this machine, but for the zero-shot run, which others here need. What was
    interrupted stays, with its checkpoint.

    Raises:
        RunError: It cannot be stored; it stays here and is stored when it is asked for again.
    """
    local = replace(run, job=run.job.changed(runs=runs))
    for folder in (local.baseline, local.folder):
        store.pull(folder.name, runs)
    report = _attempt(local)
    if report.record is not None:
        store.push(local.baseline)
        store.push(local.folder)
        if local.folder != local.baseline:
            shutil.rmtree(local.folder, ignore_errors=True)
    return report


def _attempt(run: SweepRun) -> Report:
    from fewtune.core.files import read_json
    from fewtune.sweeps.runner import FAILURE, attempt
    from fewtune.training.tracking import Tracker

    outcome = attempt(run, Tracker())
    failure = read_json(run.folder / FAILURE) if outcome.error else None
    return Report(outcome.record, failure, outcome.seconds, outcome.busy)


def check_data(task: Task) -> None:
    """Refuse images that this machine does not see: the first and the last of each split.

    Test images are looked for and not read.

    Raises:
        DataError: One is not there.
    """
    from fewtune.core.errors import DataError

    for split, examples in task.splits().items():
        for example in (*examples[:1], *examples[1:][-1:]):
            source = example.source
            try:
                if isinstance(source, Path):
                    source.open("rb").close()
                elif split != "test":
                    source.read()
            except OSError as error:
                raise DataError(
                    f"{error.filename or example.key} of task {task.name} cannot be read here: "
                    f"{error.strerror or error}.",
                    hint="Put the images where every worker sees them, at the same absolute path.",
                ) from error


def check_backbone(run: SweepRun) -> None:
    """Refuse another revision of the backbone than where the sweep was started."""
    from fewtune.core.errors import ConfigError

    found, wanted = _revision(run.job.config.backbone), run.spec.revision
    if found not in (None, wanted):  # None: not downloaded here yet
        raise ConfigError(
            f"Backbone {run.job.config.backbone} is revision {found} here, and {wanted} where "
            "the sweep was started.",
            hint="Put the same files on every machine.",
        )


@functools.cache
def _revision(backbone: str) -> str | None:
    from fewtune.backbones.checkpoint import describe

    return describe(backbone).revision


def fitted(run: SweepRun, order: Order) -> Job:
    """Return the job with the threads, the device and the memory of this worker.

    The precision is that of the spec, whatever this machine would choose.
    """
    import torch

    job = run.job
    torch.set_num_threads(order.cpus)
    device = "cpu" if job.config.device == "auto" and not order.gpus else job.config.device
    return job.changed(
        precision=run.spec.precision,
        device=device,
        threads=min(job.config.threads or order.cpus, order.cpus),
        memory_mib=job.config.memory_mib or _memory_mib(device, order),
    )


def _memory_mib(device: str, order: Order) -> float | None:
    """Return what this process may hold, so that all workers of the machine fit together."""
    import ray
    import torch

    from fewtune.training.device import choose_device
    from fewtune.training.memory.memory_plan import budget_mib
    from fewtune.training.memory.memory_probe import MIB

    if choose_device(device).type == "cuda":
        if order.gpus >= 1:
            return None
        total = torch.cuda.get_device_properties(0).total_memory
        return CUDA_SHARE * order.gpus * total / MIB
    share = order.memory_mib.get(ray.get_runtime_context().get_node_id())
    free = budget_mib(None, torch.device("cpu"))
    return min(share, free) if share else free
