"""A sweep on Ray: one task a run, on the cores of this machine or on a cluster that is there.

Ray only says what runs where. What is done stands in run folders, so the sweep survives the loss of
any process: a run whose worker was lost is made again, from its checkpoint where that is on the
same machine, and a sweep that was killed is continued by the same command.
"""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fewtune.core.errors import ConfigError
from fewtune.core.files import write_json
from fewtune.core.task import Task
from fewtune.sweeps.ray.code_sync import pack
from fewtune.sweeps.ray.run_queue import RunQueue
from fewtune.sweeps.ray.worker import Order, Report, work, wrap
from fewtune.sweeps.runner import FAILURE, Outcome, SweepRun
from fewtune.sweeps.shared_store import SharedStore

if TYPE_CHECKING:
    from fewtune.sweeps.place import SweepPlace

POLL_S = 2.0
REACH_S = 10.0
GRACE_S = 20.0  # for interrupted runs to write their checkpoints
OBJECT_STORE_BYTES = 256 << 20  # of a Ray of our own: it only carries lists of images
MIB = 1 << 20


def _reach(address: str) -> None:
    """Refuse an address where nobody listens, which Ray would try for many minutes."""
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


def memory_shares(
    nodes: Sequence[Mapping[str, Any]], place: SweepPlace, gpus: float
) -> dict[str, float]:
    """Return what each of the workers of a machine may hold, in MiB, by the machine's id.

    Args:
        nodes: As Ray describes them: what Ray calls memory was free when it started there.
    """
    shares = {}
    for node in nodes:
        resources = node["Resources"]
        count = slots(resources, place.cpus, gpus)
        if count and "memory" in resources:
            at_a_time = min(count, place.workers or count)
            shares[node["NodeID"]] = resources["memory"] / MIB / at_a_time
    return shares


class RayRunner:
    """The runner (`sweeps.runner`) that makes runs on Ray; Ray starts with the first run.

    Args:
        place: What to take of Ray, and where runs are stored: a URL, or a folder that all machines
            share.
    """

    def __init__(self, place: SweepPlace, note: Callable[[str], None]) -> None:
        self.place = place
        self.note = note
        self._ray: Any = None
        self._remote: Any = None
        self._folder = ""
        self._running: dict[Any, SweepRun] = {}
        self._tasks: dict[tuple[object, ...], Any] = {}

    def __call__(self, wanted: Sequence[SweepRun]) -> Iterator[Outcome]:
        """Yield what became of each run, as they end.

        Raises:
            ConfigError: Ray cannot be reached, or no machine has what a run takes.
            RunError: The place where runs are stored cannot be written.
        """
        if not wanted:
            return
        self._start()
        sources = self._ray.put(pack({type(run.job.strategy) for run in wanted}))
        line = RunQueue(wanted)
        while line or self._running:
            while len(self._running) < self._most():
                run = line.take(time.monotonic())
                if run is None:
                    break
                self._running[self._send(run, sources)] = run
            for run, answer in self._answers():
                report = line.ended(run, answer, time.monotonic())
                if report is not None:
                    yield self._outcome(run, report)
                elif isinstance(answer, BaseException):
                    self.note(f"the worker of {run.folder.name} was lost; it is made again")

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
        if not self.place.address:
            # Whatever its name says: on every system, Ray then listens on 127.0.0.1 alone.
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
            os.environ.setdefault("RAY_AUTH_TOKEN", uuid4().hex)  # else Ray writes one to the home
        else:
            _reach(self.place.address)
        import ray

        self._ray = ray  # from here on there is something to close
        shared = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if self.place.address:
                ray.init(address=self.place.address, **shared)
            else:
                self._folder = tempfile.mkdtemp(prefix="fewtune-ray-")
                ray.init(**shared, **self._local())
        except Exception as error:  # of whatever kind: Ray has many
            where = self.place.address or "this machine"
            raise ConfigError(
                f"Ray does not work on {where}: {error}.",
                hint="See `ray status`. If it wants a token, set RAY_AUTH_MODE=token.",
            ) from error
        self._remote = ray.remote(work)
        gpus = self._gpus(self.place.gpus_per_run)
        if not any(slots(node["Resources"], self.place.cpus, gpus) for node in self._nodes()):
            raise ConfigError(
                f"No machine of the Ray cluster has {self.place.cpus} CPUs and {gpus:g} GPUs.",
                hint="Ask for less with --cpus-per-run and --gpus-per-run.",
            )

    def _local(self) -> dict[str, Any]:
        """Return how Ray is started on this machine: for us alone, and heard by nobody else."""
        return {
            "address": "local",
            "num_cpus": self.place.runs_here() * self.place.cpus,
            "num_gpus": 0 if self.place.gpus_per_run == 0 else None,
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
        if self.place.workers or not self.place.address:
            return self.place.runs_here()
        gpus = self._gpus(self.place.gpus_per_run)
        return 1 + sum(slots(node["Resources"], self.place.cpus, gpus) for node in self._nodes())

    def _send(self, run: SweepRun, sources: Any) -> Any:
        """Give a run to Ray and return what stands for its report."""
        data, tasks = wrap(run)
        gpus = self._gpus(0 if run.job.config.device == "cpu" else self.place.gpus_per_run)
        nodes = self._nodes()
        stored, mark = self._stored
        order = Order(
            data,
            os.getcwd(),
            self.place.cpus,
            gpus,
            memory_shares(nodes, self.place, gpus),
            stored,
            mark,
        )
        takes: dict[str, Any] = {"num_cpus": self.place.cpus, "num_gpus": gpus, "max_retries": 0}
        if run.job.config.memory_mib and not gpus:  # then no more runs at a time than fit
            most = max(node["Resources"].get("memory", 0) for node in nodes)
            takes["memory"] = int(min(run.job.config.memory_mib * MIB, most))
        references = [self._put(task) for task in tasks]
        return self._remote.options(**takes).remote(order, sources, *references)

    def _put(self, task: Task) -> Any:
        """Send a task to the cluster once."""
        key = (task.name, task.fingerprint(), task.notes)
        if key not in self._tasks:
            self._tasks[key] = self._ray.put(pickle.dumps(task))
        return self._tasks[key]

    @cached_property
    def _stored(self) -> tuple[str, str]:
        """Where workers store runs, and its mark; "" twice if they see the sweep's own folder."""
        if not (self.place.store or self.place.address):
            return "", ""
        store = self.place.store or SharedStore(str(self.place.folder.absolute()))
        return store.place, store.mark()

    def _answers(self) -> Iterator[tuple[SweepRun, Report | BaseException]]:
        """Wait a moment, and yield what became of the runs that have ended."""
        if not self._running:
            time.sleep(POLL_S)
            return
        ended, _ = self._ray.wait(list(self._running), timeout=POLL_S)
        for reference in ended:
            run = self._running.pop(reference)
            try:
                yield run, self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                yield run, error

    def _outcome(self, run: SweepRun, report: Report) -> Outcome:
        failure = run.folder / FAILURE
        if report.failure:
            about = {"spec": run.spec.model_dump(mode="json")}
            write_json(failure, {**about, **report.failure})
            return Outcome(run, None, report.failure["error"], report.seconds)
        if report.record is not None:
            failure.unlink(missing_ok=True)
        return Outcome(run, report.record, "", report.seconds, report.busy)
