"""Sweeps on other machines, without Ray: what is next, what comes again, what workers check."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fewtune.core.discovery import strategy_names
from fewtune.core.errors import ConfigError
from fewtune.core.files import read_json
from fewtune.core.spec import Recipe, Spec
from fewtune.core.task import Example
from fewtune.model.load_strategy import load_strategy
from fewtune.strategies.clip_adapter import ClipAdapter
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.sweeps.place import SweepPlace
from fewtune.sweeps.ray import worker
from fewtune.sweeps.ray.cluster import RayRunner, memory_shares, slots
from fewtune.sweeps.ray.code_sync import PACKAGE, Sources, pack, unpack
from fewtune.sweeps.ray.run_queue import RETRIES, RunQueue, is_lost
from fewtune.sweeps.runner import SweepRun, run_of
from fewtune.sweeps.shared_store import SharedStore
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.job import Job

# Named as Ray names its own.
RayError = type("RayError", (Exception,), {})
WorkerCrashedError = type("WorkerCrashedError", (RayError,), {})
RayTaskError = type("RayTaskError", (RayError,), {})


def run(task: str, seed: int, runs: Path = Path("runs")) -> SweepRun:
    """A run that is only looked at."""
    spec = Spec(
        strategy="clip-adapter", version=1, options={}, recipe=Recipe(), task=task, data=task,
        backbone="tiny", revision="r", precision="fp32", shots=4, seed=seed,
    )  # fmt: skip
    return SweepRun(Job.of(ClipAdapter(), tiny_task(), "tiny", seed=seed, runs=runs), spec)


def test_the_zero_shot_run_of_a_task_is_made_once_while_other_tasks_run() -> None:
    line = RunQueue([run("pets", 1), run("pets", 2), run("cars", 1), run("cars", 2)])
    taken = [line.take(0) for _ in range(3)]
    seen = [(one.spec.task, one.spec.seed) for one in taken if one]
    assert seen == [("pets", 1), ("cars", 1), ("pets", 2)]  # the last waits for the first's
    assert taken[0]
    line.ended(taken[0], worker.Report({}), 0)
    last = line.take(0)
    assert last
    assert last.spec.task == "cars"
    assert line.take(0) is None
    assert not line


def test_a_run_whose_worker_was_lost_is_made_again_a_few_times() -> None:
    assert is_lost(WorkerCrashedError())
    assert not is_lost(RayTaskError())
    assert not is_lost(ValueError())
    line = RunQueue([run("pets", 1), run("pets", 2)])
    for _ in range(RETRIES):
        one = line.take(0)
        assert one
        assert one.spec.seed == 1
        assert line.ended(one, WorkerCrashedError("killed by signal 9"), 0) is None
    one = line.take(0)
    assert one
    report = line.ended(one, WorkerCrashedError("killed by signal 9"), 0)
    assert report
    assert report.failure
    assert f"lost {RETRIES + 1} times, the last time: killed by signal 9" in report.failure["error"]
    other = line.take(0)
    assert other
    report = line.ended(other, RayTaskError("trace\nModuleNotFoundError: No module 'fewtune'"), 0)
    assert report
    assert report.failure
    assert "could not begin: ModuleNotFoundError" in report.failure["error"]


def test_a_run_of_another_process_is_looked_at_again_later_and_told_once() -> None:
    line = RunQueue([run("pets", 1)])
    one = line.take(0)
    assert one
    assert line.ended(one, worker.Report(None, busy=True), 10.0)
    assert line
    assert line.take(10.1) is None
    assert line.take(13.0) is one
    assert line.ended(one, worker.Report(None, busy=True), 13.0) is None
    assert line.take(16.0) is one


def test_workers_of_a_machine_share_its_memory() -> None:
    big = {"CPU": 8.0, "GPU": 1.0, "memory": 8 * 2.0**30}
    nodes = [{"NodeID": "a", "Resources": big}, {"NodeID": "head", "Resources": {"memory": 1.0}}]
    assert memory_shares(nodes, SweepPlace(on="ray", cpus_per_run=2), 0) == {"a": 2048}
    assert memory_shares(nodes, SweepPlace(on="ray", workers=1), 0) == {"a": 8192}
    assert memory_shares(nodes, SweepPlace(), 0.5) == {"a": 4096}
    assert slots(big, 1, 0.25) == 4
    assert slots(big, 1, 2) == 0


def test_what_cannot_be_taken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SweepPlace(on="ray", cpus_per_run=10**6).at_once() == 1
    with pytest.raises(ConfigError, match="neither a part of a GPU nor a whole number"):
        SweepPlace(on="ray", gpus_per_run=1.5)
    place = SweepPlace(on="ray", address="127.0.0.1:1")
    with pytest.raises(ConfigError, match="No Ray cluster answers at"):
        next(RayRunner(place, print)([run("pets", 1)]))
    monkeypatch.setattr("fewtune.sweeps.place.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "fewtune\[ray\]"'):
        SweepPlace(on="ray")


@pytest.fixture
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test unpacks is forgotten."""
    monkeypatch.setattr(worker, "_unpacked", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    package = importlib.import_module(PACKAGE)
    monkeypatch.setattr(package, "__path__", list(package.__path__))
    yield
    for name in (*PLUGGED, f"{PACKAGE}.dropped_in"):
        sys.modules.pop(name, None)


@pytest.fixture
def tiny(tmp_path: Path) -> SweepRun:
    """A zero-shot run."""
    backbone = str(tiny_clip_folder(tmp_path / "backbone", blocks=1))
    job = Job.of(ZeroShot(), tiny_task(test=2), backbone, precision="fp32", threads=1,
              runs=tmp_path / "here", memory_mib=8192)  # fmt: skip
    return run_of(job)


def order(one: SweepRun, place: str = "", mark: str = "") -> tuple[worker.Order, list[bytes]]:
    data, tasks = worker.wrap(one)
    return worker.Order(data, ".", 1, 0, {}, place, mark), [pickle.dumps(task) for task in tasks]


@pytest.mark.usefixtures("clean_imports")
def test_a_worker_makes_a_run_in_a_folder_of_its_own_and_stores_it(
    tiny: SweepRun, tmp_path: Path
) -> None:
    place = f"file://{tmp_path}/there"
    told, tasks = order(tiny, place, SharedStore(place).mark())
    report = worker.work(told, pack([ZeroShot]), *tasks)
    assert report.failure is None, report.failure
    assert report.record
    assert not tiny.folder.exists()
    stored_there = tmp_path / "there" / tiny.folder.name
    assert read_json(stored_there / "record.json") == report.record
    assert {path.name for path in stored_there.iterdir()} == {
        "backbone.json",
        "images.json",
        "adapter.safetensors", "metrics.jsonl", "predictions.csv", "record.json", "spec.json",
        "task.json",
    }  # fmt: skip
    again = worker.work(told, pack([ZeroShot]), *tasks)
    assert again.record == report.record  # to the second: it was not computed again
    refused = worker.work(*order(tiny, place, "another")[:1], pack([ZeroShot]), *tasks)
    assert refused.failure
    assert "is not the folder of this sweep when seen from here" in refused.failure["error"]


@pytest.mark.usefixtures("clean_imports")
def test_a_worker_says_what_it_does_not_see(tiny: SweepRun, tmp_path: Path) -> None:
    gone = tmp_path / "gone.png"
    task = replace(tiny.job.task, train=(Example("train/x", 0, gone),))
    told, tasks = order(replace(tiny, job=replace(tiny.job, task=task)))
    report = worker.work(told, pack([ZeroShot]), *tasks)
    assert report.failure
    assert f"{gone} of task tiny cannot be read here: No such file" in report.failure["error"]
    report = worker.work(told, Sources("0.0", {}, {}, {}), *tasks)
    assert report.failure
    assert "pip install fewtune==0.0" in report.failure["error"]
    other = replace(tiny, spec=tiny.spec.model_copy(update={"revision": "sha256:other"}))
    with pytest.raises(ConfigError, match="is revision sha256:"):
        worker.check_backbone(other)


def test_a_run_is_fitted_to_its_worker(tiny: SweepRun) -> None:
    spec = tiny.spec.model_copy(update={"precision": "bf16"})
    told = replace(order(tiny)[0], cpus=1)
    job = worker.fitted(replace(tiny, job=tiny.job.changed(threads=8), spec=spec), told)
    assert (job.config.threads, job.config.precision, job.config.device, job.config.memory_mib) == (
        1,
        "bf16",
        "cpu",
        8192,
    )


PLUGGED = ("plugged", "plugged.helper", "plugged.my_method")
METHOD = '''"""My Method: nothing is trained."""
from plugged.helper import TITLE
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy


class MyMethod(Strategy):
    """A head without training."""

    title = TITLE

    def attach(self, model, classes):
        """Return the head."""
        return Head(model, classes)
'''


@pytest.mark.usefixtures("clean_imports")
def test_dropped_in_strategies_travel_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "plugged"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("TITLE = 'My Method'\n")
    (package / "my_method.py").write_text(METHOD)
    sys.path.insert(0, str(tmp_path))
    kind = importlib.import_module("plugged.my_method").MyMethod
    sources = pack([kind, ClipAdapter])
    sources.own["dropped_in.py"] = METHOD.replace("My Method", "Dropped In")
    # Another machine: neither file is there, nothing of them is imported.
    sys.path.remove(str(tmp_path))
    for name in PLUGGED:
        del sys.modules[name]
    assert not {"my-method", "dropped-in"} & set(strategy_names())
    unpack(sources)
    assert load_strategy("my-method")().title == "My Method"
    assert strategy_names()["dropped-in"] == "Dropped In: nothing is trained."
    assert load_strategy("dropped-in").__module__ == f"{PACKAGE}.dropped_in"
    sources.own["clip_adapter.py"] += "# edited\n"
    with pytest.raises(ConfigError, match=r"clip_adapter\.py is another one here"):
        unpack(sources)
