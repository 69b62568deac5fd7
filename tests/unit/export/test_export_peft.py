"""The lines of a PEFT export's card run as they stand, whatever the backbone was stored as."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from exported_runs import TASK, printed_by
from safetensors.torch import load_file, save_file

from fewtune.core.task import Example
from fewtune.exports import export_run
from fewtune.exports.parity_probe import Probe
from fewtune.testing import tiny_clip_folder
from fewtune.training.job import Job
from fewtune.training.load_run import load_run
from fewtune.training.named_recipes import configure
from fewtune.training.run import train
from fewtune.training.tracking import Tracker
from openai_clip import reference

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)


def half(folder: Path) -> Path:
    """A folder whose weights are stored in fp16, as those of OpenAI's on the hub may be."""
    tiny_clip_folder(folder, blocks=2)
    weights = {
        name: value.half() for name, value in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float16"}))
    return folder


def without_processor(folder: Path) -> Path:
    tiny_clip_folder(folder, blocks=2)
    (folder / "preprocessor_config.json").unlink()
    return folder


def state_dict(path: Path) -> Path:
    """OpenAI's layout: fused projections, names of its own, a single file."""
    torch.save(reference().state_dict(), path.with_suffix(".pt"))
    path.with_suffix(".pt.json").write_text('{"hidden_act": "quick_gelu"}')
    return path.with_suffix(".pt")


def open_clip_folder(folder: Path) -> Path:
    folder.mkdir()
    torch.save(reference("gelu").state_dict(), folder / "open_clip_pytorch_model.bin")
    settings = {"embed_dim": 48, "vision_cfg": {"image_size": 24}, "text_cfg": {}}
    config = {"model_cfg": settings, "preprocess_cfg": {"mean": [0.4] * 3, "std": [0.3] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


BACKBONES = {
    "picto": lambda path: "picto",
    "odd name": lambda path: tiny_clip_folder(path / 'it\'s a "clip", b=1', blocks=2),
    "fp16": lambda path: half(path / "clip"),
    "no processor": lambda path: without_processor(path / "clip"),
    "openai": lambda path: state_dict(path / "clip"),
    "open_clip": lambda path: open_clip_folder(path / "clip"),
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_lines_of_the_card_run_and_merge(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy, recipe = configure(
        "clip-lora", {"lr": 0.05, "length": 2, "length_unit": "steps", "warmup": 0}
    )
    job = Job.of(
        strategy, TASK, str(BACKBONES[kind](tmp_path)), recipe,
        precision="fp32", device="cpu", runs=tmp_path / "runs", resize="squash",
    )  # fmt: skip
    folder = train(job, Tracker())
    out = export_run(folder, "peft", tmp_path / "out")
    tuned = load_run(folder, "cpu")
    probe = Probe.make(tuned.head.model.preprocess)
    (out / "image.jpg").write_bytes(probe.files[4])
    (code,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    wanted = tuned.scores([Example("image", 0, out / "image.jpg")]).softmax(1)[0]
    with_merge = code.replace('(base, ".").eval()', '(base, ".").merge_and_unload()')
    assert with_merge != code
    for lines in (code, with_merge):
        printed = printed_by(lines, out, monkeypatch)
        shares = json.loads(printed.replace("'", '"'))
        torch.testing.assert_close(torch.tensor(list(shares.values())), wanted, rtol=0, atol=1e-4)
