"""Runs in a shared place: the record comes last, and nothing that was cut off looks complete."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fewtune.core.errors import ConfigError, RunError
from fewtune.core.files import write_json
from fewtune.core.spec import ZERO_SHOT, Spec
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.sweeps.runner import Outcome, SweepRun
from fewtune.sweeps.shared_store import SharedStore, mirror, stored
from fewtune.testing import tiny_task
from fewtune.training.job import Job

KEPT = ("adapter.safetensors", "plan.json", "record.json")


def make_run(runs: Path, name: str = "run-1") -> Path:
    folder = runs / name
    folder.mkdir(parents=True)
    for file in (*KEPT, "checkpoint.safetensors", ".lock", ".plan.json.1.tmp"):
        (folder / file).write_text(f'"{file}"')
    return folder


class Breaking:
    """A file system that breaks before its n-th change."""

    def __init__(self, real: Any, changes: int) -> None:
        self.real = real
        self.left = changes
        self.log: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.real, name)
        if name not in ("makedirs", "put_file", "mv"):
            return method

        def change(*arguments: Any, **options: Any) -> Any:
            if not self.left:
                raise ConnectionError("the network is gone")
            self.left -= 1
            self.log.append(f"{name} {arguments[-1].rpartition('/')[2]}")
            return method(*arguments, **options)

        return change


def test_an_upload_that_breaks_anywhere_is_not_complete(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    for changes in range(6):
        store = SharedStore(f"memory://broken-{changes}")
        real = store._fs
        store._fs = Breaking(real, changes)
        if changes < 5:
            with pytest.raises(RunError, match="the network is gone"):
                store.push(folder)
            store._fs = real
            assert not store.holds("run-1")
            assert store.complete() == set()
            store.pull("run-1", tmp_path / "elsewhere")
            assert not (tmp_path / "elsewhere").exists()
            store.push(folder)
        else:
            store.push(folder)
            assert store._fs.log[:3] == [
                "makedirs run-1", "put_file adapter.safetensors", "put_file plan.json",
            ]  # fmt: skip
            assert store._fs.log[4] == "mv record.json"
        assert store.complete() == {"run-1"}


def test_runs_come_back_as_they_went_and_later_measurements_follow(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "here")
    store = SharedStore(f"file://{tmp_path}/there")
    store.push(folder)
    store.pull("run-1", tmp_path / "other")
    found = {path.name: path.read_text() for path in (tmp_path / "other" / "run-1").iterdir()}
    assert found == {name: f'"{name}"' for name in KEPT}
    write_json(folder / "elsewhere.json", {"pets": 1})
    (folder / "plan.json").write_text("changed")
    store.push(folder)
    store.pull("run-1", tmp_path / "other")
    assert (tmp_path / "other" / "run-1" / "elsewhere.json").exists()
    assert (tmp_path / "other" / "run-1" / "plan.json").read_text() == '"plan.json"'


def test_only_what_a_place_lacks_is_made_and_left_there(tmp_path: Path) -> None:
    def run(task: str) -> SweepRun:
        spec = Spec(
            strategy=ZERO_SHOT, version=ZeroShot.version, options={}, recipe=None, task=task,
            data=task, backbone="tiny", revision="r", precision="fp32",
        )  # fmt: skip
        return SweepRun(Job.of(ZeroShot(), tiny_task(), "tiny", runs=tmp_path / "here"), spec)

    def make(one: SweepRun, runs: Path) -> Path:
        folder = make_run(runs, one.folder.name)
        write_json(folder / "spec.json", {"format": 1, **one.spec.model_dump(mode="json")})
        return folder

    made: list[str] = []

    def runner(wanted: Sequence[SweepRun]) -> Iterator[Outcome]:
        for one in wanted:
            made.append(one.spec.task)
            make(one, one.folder.parent)
            yield Outcome(one, one.record(), "", 1.0)

    there, missing = run("there"), run("missing")
    store = SharedStore("memory://study")
    store.push(make(there, tmp_path / "other"))
    outcomes = list(stored(runner, store, by_workers=False)([there, missing]))
    assert made == ["missing"]
    assert [outcome.record for outcome in outcomes] == ["record.json"] * 2
    assert store.complete() == {there.folder.name, missing.folder.name}


def test_places_that_cannot_be_used_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        SharedStore("nowhere://study")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match="pip install s3fs"):
        SharedStore("s3://bucket/study")
    first, second = SharedStore(str(tmp_path / "1")), SharedStore(str(tmp_path / "2"))
    mark = first.mark()
    assert mark == first.mark()
    first.check(mark)
    second.mark()
    for other in (second, SharedStore(str(tmp_path / "3"))):
        with pytest.raises(ConfigError, match="is not the folder of this sweep"):
            other.check(mark)
    assert mirror("s3://bucket/study/").name.startswith("study-")
    assert mirror("s3://bucket/study") != mirror("s3://other/study")
