"""An ONNX program and its client give the run's answers where no torch is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from exported_runs import tuned_run
from torch import Tensor

from fewtune.core.errors import AdapterError, ConfigError
from fewtune.core.task import Example
from fewtune.exports import export_run
from fewtune.exports.parity_probe import probe_images
from fewtune.model.head import Head
from fewtune.testing import tiny_clip_folder
from fewtune.training.load_run import load_run

ASK = """
import json, sys
from classify import classify
assert not {"torch", "fewtune", "torchvision", "transformers"} & set(sys.modules)
print(json.dumps([list(row.items()) for row in classify(sys.argv[1:])]))
"""


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("backbone") / "clip", blocks=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("strategy", ["clip-adapter", "tip-adapter-f", "vpt-deep", "linear-probe"])
def test_the_client_gives_the_run_s_probabilities_without_torch(
    strategy: str, backbone: Path, runs: Path, tmp_path: Path
) -> None:
    folder = tuned_run(strategy, backbone, runs)
    out = export_run(folder, "onnx", tmp_path / "out")
    paths = []
    for index, image in enumerate(probe_images(32)):
        paths.append(tmp_path / f"{index}.{('png', 'jpg')[index % 2]}")
        image.save(paths[-1])
    asked = [sys.executable, "-c", ASK, *map(str, paths)]
    done = subprocess.run(asked, cwd=out, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    assert [[name for name, _ in row] for row in rows] == [["red", "green", "blue"]] * len(paths)
    found = torch.tensor([[share for _, share in row] for row in rows])
    examples = [Example(str(path), 0, path) for path in paths]
    wanted = load_run(folder, "cpu").scores(examples).softmax(1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_the_program_says_what_it_is(backbone: Path, runs: Path, tmp_path: Path) -> None:
    out = export_run(tuned_run("clip-lora", backbone, runs), "onnx", tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {"model.onnx", "classify.py", "README.md"}
    program = onnx.load(out / "model.onnx")
    about = {entry.key: entry.value for entry in program.metadata_props}
    assert json.loads(about["classes"]) == ["red", "green", "blue"]
    assert json.loads(about["preprocessing"])["crop_size"] == {"height": 32, "width": 32}
    assert float(about["temperature"]) == pytest.approx(
        1 / load_run(tuned_run("clip-lora", backbone, runs), "cpu").head.model.logit_scale
    )
    assert int(about["opset"]) == program.opset_import[0].version
    assert about["opset"] in (out / "README.md").read_text()
    assert about["compared with"] in (out / "README.md").read_text()
    client = (out / "classify.py").read_text()
    assert sum(bool(line.strip()) for line in client.splitlines()) <= 45


def test_weights_of_a_large_model_lie_next_to_the_program(
    backbone: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewtune.exports.onnx_format.INLINE_BYTES", 0)
    out = export_run(tuned_run("zero-shot", backbone, runs), "onnx", tmp_path / "out")
    assert (out / "model.onnx.data").stat().st_size > 0


def test_missing_packages_are_named_before_anything_is_loaded(
    backbone: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tuned_run("zero-shot", backbone, runs)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "fewtune.exports.onnx_format.find_spec", lambda n: None if n == "onnx" else find(n)
    )
    with pytest.raises(ConfigError, match=r"needs onnx\. .*fewtune\[onnx\]"):
        export_run(folder, "onnx", tmp_path / "out")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda self, z: z * np.float32(float(z.detach().mean())), "cannot be written as ONNX"),
        (lambda self, z: z + torch.arange(len(z))[:, None], "write x.shape"),
    ],
    ids=["depends on values", "depends on the batch"],
)
def test_what_cannot_be_written_is_refused(
    rule: object,
    said: str,
    backbone: Path,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tuned_run("zero-shot", backbone, runs)
    monkeypatch.setattr(Head, "image", rule)
    with pytest.raises(AdapterError, match=said):
        export_run(folder, "onnx", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_another_program_is_refused(
    backbone: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nudged(self: object, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, shares = forward(self, images)
        return logits + images[:, 0, 0, :1] * 1e-3, shares

    from fewtune.exports.onnx_format import Program

    forward = Program.forward
    monkeypatch.setattr(Program, "forward", nudged)
    with pytest.raises(AdapterError, match="refused"):
        export_run(tuned_run("zero-shot", backbone, runs), "onnx", tmp_path / "out")
