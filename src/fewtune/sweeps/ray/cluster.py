"""A sweep on Ray: one task a run, on the cores of this machine or on a cluster that is there.

Ray only says what runs where. What is done stands in run folders, so the sweep survives the loss of
any process: a run whose worker was lost is made again, from its checkpoint where that is on the
same machine, and a sweep that was killed is continued by the same command.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

from fewtune.core.errors import ConfigError
from fewtune.core.files import write_json
from fewtune.core.task import Task
from fewtune.sweeps.ray.code_sync import pack
from fewtune.sweeps.ray.run_queue import RunQueue
from fewtune.sweeps.ray.worker import Order, Report, work, wrap
from fewtune.sweeps.runner import FAILURE, Outcome, SweepRun
from fewtune.sweeps.shared_store import SharedStore

POLL_S = 2.0
REACH_S = 10.0
GRACE_S = 20.0  # for interrupted runs to write their checkpoints
OBJECT_STORE_BYTES = 256 << 20  # of a Ray of our own: it only carries lists of images
MIB = 1 << 20


@dataclass(frozen=True)
class Pool:
    """What a sweep takes of Ray.

    Attributes:
        workers: Runs at a time; None for as many as fit.
        address: Of a cluster that is there, "auto" to find it; "" starts Ray on this machine.
        cpus: Of a run; its threads.
        gpus: Of a run: a part of one, or a whole number. None for one where the cluster has any.
    """

    workers: int | None = None
    address: str = ""
    cpus: int = 1
    gpus: float | None = None

    def __post_init__(self) -> None:
        """Refuse a number of GPUs that cannot be had.

        Raises:
            ConfigError: It is more than one and not whole.
        """
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ConfigError(
                f"--gpus-per-run {self.gpus:g} is neither a part of a GPU nor a whole number.",
                hint="Use 0.5 for two runs on each GPU, or 2 for two GPUs a run.",
            )

    def here(self) -> int:
        """Return how many runs this machine makes at a time."""
        return self.workers or max(1, _cores() // self.cpus)


def _cores() -> int:
    with contextlib.suppress(AttributeError):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_ray() -> None:
    """Refuse to go on without Ray.

    Raises:
        ConfigError: It is not installed.
    """
    if find_spec("ray") is None:
        raise ConfigError("Ray is not installed.", hint='Try: pip install "fewtune[ray]"')


def _reach(address: str) -> None:
    """Refuse an address where nobody listens, which Ray would try for many minutes.

    Raises:
        ConfigError: Nobody does, or it is no address.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host and port == "auto":
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACH_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"No Ray cluster answers at {address}: {getattr(error, 'strerror', None) or error}.",
            hint="Use --address HOST:6379, or auto where Ray runs on this machine: `ray start`.",
        ) from error


def slots(resources: Mapping[str, float], cpus: int, gpus: float) -> int:
    """Return how many runs a machine, or a whole cluster, can make at a time."""
    room = resources.get("CPU", 0) / cpus
    return int(min(room, resources.get("GPU", 0) / gpus) if gpus else room)


def memory_shares(nodes: Sequence[Mapping[str, Any]], pool: Pool, gpus: float) -> dict[str, float]:
    """Return what each of the workers of a machine may hold, in MiB, by the machine's id.

    Args:
        nodes: As Ray describes them: what Ray calls memory was free when it started there.
    """
    shares = {}
    for node in nodes:
        resources = node["Resources"]
        count = slots(resources, pool.cpus, gpus)
        if count and "memory" in resources:
            at_a_time = min(count, pool.workers or count)
            shares[node["NodeID"]] = resources["memory"] / MIB / at_a_time
    return shares


def _silent(text: str) -> None:
    """Say nothing."""


class RayRunner:
    """The runner (`sweeps.runner`) that makes runs on Ray; Ray starts with the first run.

    Use it as a context: at its end, runs in progress are interrupted and Ray is left.

    Args:
        pool: What to take.
        url: Where runs are stored; "" for the folder of each run, which all machines must share.
        note: Told when a worker was lost.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(self, pool: Pool, url: str = "", note: Callable[[str], None] = _silent) -> None:
        require_ray()
        self.pool = pool
        self.url = url
        self.note = note
        self._ray: Any = None
        self._remote: Any = None
        self._folder = ""
        self._running: dict[Any, SweepRun] = {}
        self._tasks: dict[tuple[object, ...], Any] = {}
        self._marks: dict[str, str] = {}

    def __enter__(self) -> RayRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, wanted: Sequence[SweepRun]) -> Iterator[Outcome]:
        """Yield what became of each run, as they end.

        Raises:
            ConfigError: Ray cannot be reached, or no machine has what a run takes.
            RunError: The place where runs are stored cannot be written.
        """
        if not wanted:
            return
        self._start()
        sources = self._ray.put(pack({type(entry.job.strategy) for entry in wanted}))
        line = RunQueue(wanted)
        while line or self._running:
            while len(self._running) < self._most():
                entry = line.take(time.monotonic())
                if entry is None:
                    break
                self._running[self._send(entry, sources)] = entry
            for entry, answer in self._answers():
                report = line.ended(entry, answer, time.monotonic())
                if report is not None:
                    yield self._outcome(entry, report)
                elif isinstance(answer, BaseException):
                    self.note(f"the worker of {entry.folder.name} was lost; it is made again")

    def close(self) -> None:
        """Interrupt what is running, so that checkpoints are written, and leave Ray."""
        if self._ray is None:
            return
        try:
            for reference in self._running:
                self._ray.cancel(reference)
            if self._running:
                self.note("interrupting what is running ...")
                references = list(self._running)
                self._ray.wait(references, num_returns=len(references), timeout=GRACE_S)
        finally:
            self._running.clear()
            self._tasks.clear()
            self._ray.shutdown()
            self._ray = None
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        if self._ray is not None:
            return
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent to anybody
        if not self.pool.address:
            # Whatever its name says: on every system, Ray then listens on 127.0.0.1 alone.
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
            os.environ.setdefault("RAY_AUTH_TOKEN", uuid4().hex)  # else Ray writes one to the home
        else:
            _reach(self.pool.address)
        import ray

        self._ray = ray  # from here on there is something to close
        shared = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if self.pool.address:
                ray.init(address=self.pool.address, **shared)
            else:
                self._folder = tempfile.mkdtemp(prefix="fewtune-ray-")
                ray.init(**shared, **self._local())
        except Exception as error:  # of whatever kind: Ray has many
            where = self.pool.address or "this machine"
            raise ConfigError(
                f"Ray does not work on {where}: {error}.",
                hint="See `ray status`. If it wants a token, set RAY_AUTH_MODE=token.",
            ) from error
        self._remote = ray.remote(work)
        gpus = self._gpus(self.pool.gpus)
        if not any(slots(node["Resources"], self.pool.cpus, gpus) for node in self._nodes()):
            raise ConfigError(
                f"No machine of the Ray cluster has {self.pool.cpus} CPUs and {gpus:g} GPUs.",
                hint="Ask for less with --cpus-per-run and --gpus-per-run.",
            )

    def _local(self) -> dict[str, Any]:
        """Return how Ray is started on this machine: for us alone, and heard by nobody else."""
        return {
            "address": "local",
            "num_cpus": self.pool.here() * self.pool.cpus,
            "num_gpus": 0 if self.pool.gpus == 0 else None,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": self._folder,
        }

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _gpus(self, asked: float | None) -> float:
        if asked is not None:
            return asked
        return float(any(node["Resources"].get("GPU") for node in self._nodes()))

    def _most(self) -> int:
        """Return how many runs are sent at a time: one more than fit, as a cluster may grow."""
        if self.pool.workers or not self.pool.address:
            return self.pool.here()
        gpus = self._gpus(self.pool.gpus)
        return 1 + sum(slots(node["Resources"], self.pool.cpus, gpus) for node in self._nodes())

    def _send(self, entry: SweepRun, sources: Any) -> Any:
        """Give a run to Ray and return what stands for its report."""
        data, tasks = wrap(entry)
        gpus = self._gpus(0 if entry.job.config.device == "cpu" else self.pool.gpus)
        nodes = self._nodes()
        place = self._place(entry)
        order = Order(
            data,
            os.getcwd(),
            self.pool.cpus,
            gpus,
            memory_shares(nodes, self.pool, gpus),
            place,
            self._mark(place) if place else "",
        )
        takes: dict[str, Any] = {"num_cpus": self.pool.cpus, "num_gpus": gpus, "max_retries": 0}
        if entry.job.config.memory_mib and not gpus:  # then no more runs at a time than fit
            most = max(node["Resources"].get("memory", 0) for node in nodes)
            takes["memory"] = int(min(entry.job.config.memory_mib * MIB, most))
        references = [self._put(task) for task in tasks]
        return self._remote.options(**takes).remote(order, sources, *references)

    def _put(self, task: Task) -> Any:
        """Send a task to the cluster once."""
        key = (task.name, task.fingerprint(), task.notes)
        if key not in self._tasks:
            self._tasks[key] = self._ray.put(pickle.dumps(task))
        return self._tasks[key]

    def _place(self, entry: SweepRun) -> str:
        if self.url or not self.pool.address:
            return self.url
        return str(entry.job.config.runs.absolute())

    def _mark(self, place: str) -> str:
        if place not in self._marks:
            self._marks[place] = SharedStore(place).mark()
        return self._marks[place]

    def _answers(self) -> Iterator[tuple[SweepRun, Report | BaseException]]:
        """Wait a moment, and yield what became of the runs that have ended."""
        if not self._running:
            time.sleep(POLL_S)
            return
        ended, _ = self._ray.wait(list(self._running), timeout=POLL_S)
        for reference in ended:
            entry = self._running.pop(reference)
            try:
                yield entry, self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                yield entry, error

    def _outcome(self, entry: SweepRun, report: Report) -> Outcome:
        failure = entry.folder / FAILURE
        if report.failure:
            about = {"spec": entry.spec.model_dump(mode="json")}
            write_json(failure, {**about, **report.failure})
            return Outcome(entry, None, report.failure["error"], report.seconds)
        if report.record is not None:
            failure.unlink(missing_ok=True)
        return Outcome(entry, report.record, "", report.seconds, report.busy)
