"""Files of a run that were changed, torn or made to harm are named, and never believed."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import fewtune
from fewtune.core.errors import AdapterError, DataError, RunError
from fewtune.core.files import read_json, write_json
from fewtune.data.decode import open_image
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.load_run import load_run
from fewtune.training.prediction import predict
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
