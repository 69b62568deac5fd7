"""Files of a run that were changed, torn or made to harm are named, and never believed."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import fewtune
from fewtune.core.errors import AdapterError, DataError, RunError
from fewtune.core.files import read_json, write_json, write_sealed
from fewtune.data.decode import open_image
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.checkpoints import Checkpoints
from fewtune.training.load_run import load_run
from fewtune.training.prediction import predict
from fewtune.training.run_folder import RunFolder
from fewtune.training.tracking import JsonLines, Step

SETTINGS = {"precision": "fp32", "threads": 1, "length": 2, "length_unit": "steps"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    backbone = str(tiny_clip_folder(folder / "clip"))
    runs = folder / "runs"
    return fewtune.fit(tiny_task(), "clip-lora", backbone=backbone, runs=runs, **SETTINGS).folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / made.name))


def test_a_flipped_bit_in_an_adapter_is_found(run: Path) -> None:
    adapter = run / "adapter.safetensors"
    content = bytearray(adapter.read_bytes())
    draws = random.Random(0)
    for _ in range(20):
        at, bit = draws.randrange(len(content)), 1 << draws.randrange(8)
        content[at] ^= bit
        adapter.write_bytes(content)
        with pytest.raises(AdapterError):
            load_run(run, "cpu")
        content[at] ^= bit
    adapter.write_bytes(content)
    load_run(run, "cpu")


def test_a_flipped_bit_in_a_checkpoint_is_found(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    weight = torch.nn.Parameter(torch.arange(8.0))
    head: Any = SimpleNamespace(saved=lambda: {"w": weight.data}, trainable=lambda: [("w", weight)])
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones(8)
    optimizer.step()
    Checkpoints(path).save(0, 3, head, optimizer)
    content = bytearray(path.read_bytes())
    before = weight.detach().clone()
    for at in range(0, 8 * len(content), 7):
        content[at // 8] ^= 1 << at % 8
        path.write_bytes(content)
        fresh = torch.optim.AdamW([weight])
        try:
            step = Checkpoints(path).restore(0, head, fresh)
        except RunError:
            step = None  # named
        assert step in (None, 3)  # None also of another phase: training starts again
        assert torch.equal(weight, before)
        content[at // 8] ^= 1 << at % 8


@pytest.mark.parametrize("name", ["task.json", "spec.json", "record.json", "seen.json"])
def test_a_changed_description_of_a_run_is_refused(run: Path, name: str) -> None:
    stored = json.loads((run / name).read_text())
    changed = {"classes": ["x"], "seed": 7, "hash": "0", "digests": []}
    (run / name).write_text(json.dumps(stored | {k: changed[k] for k in stored if k in changed}))
    with pytest.raises(RunError, match=f"{name} is not what was written"):
        read_json(run / name)
    if name != "seen.json":
        with pytest.raises(RunError, match="is not what was written"):
            load_run(run, "cpu")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json"])
def test_a_changed_file_next_to_the_weights_is_named(
    made: Path, run: Path, tmp_path: Path, name: str
) -> None:
    backbone = Path(shutil.copytree(made.parents[1] / "clip", tmp_path / "clip"))
    load_run(run, "cpu", backbone=str(backbone))
    with (backbone / name).open("a") as file:
        file.write(" ")
    with pytest.raises(AdapterError, match=f"{name} of the backbone .* is not what"):
        load_run(run, "cpu", backbone=str(backbone))


def test_changed_predictions_are_refused(run: Path) -> None:
    table = run / "predictions.csv"
    table.write_text(table.read_text().replace(",0,", ",1,", 1))
    with pytest.raises(AdapterError, match="changed or damaged"):
        RunFolder(run).predictions()


def test_a_run_killed_before_its_record_leaves_its_checkpoint_and_nothing_twice(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results are logged, then the record is written, the last of all."""
    settings = {**SETTINGS, "checkpoint_interval_s": 0, "backbone": str(made.parents[1] / "clip")}

    class Killed(BaseException): ...

    def kill(path: Path, value: Any) -> None:
        write_sealed(path, value)
        if "record" in path.name:
            raise Killed

    fewtune.fit(tiny_task(), "zero-shot", runs=tmp_path, **_without_length(settings))
    with monkeypatch.context() as patch:
        patch.setattr("fewtune.training.run_folder.write_sealed", kill)
        with pytest.raises(Killed):
            fewtune.fit(tiny_task(), "clip-lora", runs=tmp_path, **settings)
    (folder,) = tmp_path.glob("clip-lora-*")
    assert not (folder / "record.json").exists()
    assert (folder / "checkpoint.safetensors").exists()
    again = fewtune.fit(tiny_task(), "clip-lora", runs=tmp_path, **settings)
    assert again.folder == folder
    for name in ("adapter.safetensors", "predictions.csv"):
        assert (folder / name).read_bytes() == (made / name).read_bytes()
    logs = [(f / "metrics.jsonl").read_text().splitlines() for f in (folder, made)]
    assert [line[:28] for line in logs[0]] == [line[:28] for line in logs[1]]
    assert {p.name for p in folder.iterdir()} == {p.name for p in made.iterdir()}


def _without_length(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if not key.startswith("length")}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(run: Path, value: float) -> None:
    tensors = load_file(run / "adapter.safetensors")
    first = next(iter(tensors))
    tensors[first].view(-1)[0] = value
    save_file(tensors, run / "adapter.safetensors", {"fewtune": "1"})
    record = {key: v for key, v in read_json(run / "record.json").items() if key != "files"}
    write_json(run / "record.json", record)  # as runs of an earlier version, without checksums
    with pytest.raises(AdapterError, match="not finite"):
        load_run(run, "cpu")


def test_probabilities_that_are_no_numbers_are_refused(run: Path) -> None:
    tuned = load_run(run, "cpu")
    tuned.head.model.logit_scale = float("nan")
    images = [example.source.read() for example in tiny_task().test]  # type: ignore[union-attr]
    with pytest.raises(RunError, match="not finite"):
        list(predict(tuned, images))


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"[1, 2]", b'{"step": 3}', b"null"])
def test_a_damaged_log_stops_no_run(tmp_path: Path, damage: bytes) -> None:
    lines = [b'{"phase": "tune", "step": 1, "loss": 1.0}', damage]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([*lines, b'{"phase": "tu']))
    log = JsonLines()
    log.start(tmp_path, {})
    log.log(Step("tune", 2, 4, 0.5, 0.1, 1.0))
    kept = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [line[:26] for line in kept] == ['{"phase": "tune", "step": ' for _ in range(2)]


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "image.png")
    with pytest.raises(DataError, match="no regular file"):
        open_image(tmp_path / "image.png")
