"""A CLIP with a convolutional stem is treated like any other, the stem below every cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from fewtune.backbones import clip
from fewtune.backbones.checkpoint import describe
from fewtune.backbones.conv_stem import StemmedPatches
from fewtune.core.errors import AdapterError
from fewtune.core.run_config import RunConfig
from fewtune.exports import export_run
from fewtune.model.load_strategy import load_strategy
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.cut import find_cuts
from fewtune.training.prepare import Preparation
from fewtune.training.run import run
from fewtune.training.tracking import Tracker

SIDE_PX, PATCH, POSITIONS = 64, "vision_model.embeddings.patch_embedding", 5
TASK = tiny_task()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP whose patch embedding is the stem, with random weights."""
    folder = tiny_clip_folder(tmp_path_factory.mktemp("stem") / "clip", blocks=2)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"] |= {
        "image_size": SIDE_PX,
        "patch_size": 32,
        "stem": "efficientnet-lite0",
    }
    (folder / "config.json").write_text(json.dumps(config))
    pixels = json.loads((folder / "preprocessor_config.json").read_text())
    pixels |= {"size": {"shortest_edge": SIDE_PX}, "crop_size": SIDE_PX}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    tensors = load_file(folder / "model.safetensors")
    torch.manual_seed(0)
    for name, tensor in StemmedPatches(32).state_dict().items():
        fan_in = tensor[0].numel()
        drawn = torch.randn_like(tensor) * (2 / fan_in) ** 0.5 if tensor.ndim > 1 else tensor
        tensors[f"{PATCH}.{name}"] = drawn
    place = "vision_model.embeddings.position_embedding.weight"
    tensors[place] = tensors[place][:POSITIONS].clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_tower_sees_one_token_for_32_px(folder: Path) -> None:
    model = clip.load(str(folder))
    pixels = torch.randn(2, 3, SIDE_PX, SIDE_PX)
    assert model.image.run(pixels, None, 0, 1).shape == (2, POSITIONS, 32)
    embeddings = model.image.run(pixels, None)
    assert embeddings.shape == (2, 16)
    assert not torch.allclose(*embeddings)
    assert describe(str(folder)).patch_px == 32


def test_stem_is_never_trained(folder: Path) -> None:
    model = clip.load(str(folder))
    trained = model.unfreeze("vision_model.*")
    assert f"{PATCH}.weight" in trained
    assert not any(".stem." in name for name in trained)
    before = {name: tensor.clone() for name, tensor in model.net.named_buffers()}
    model.image.run(torch.randn(2, 3, SIDE_PX, SIDE_PX), None).sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.net.named_buffers())


@pytest.mark.parametrize("name", ["clip-lora", "vpt-deep", "clipfit", "linear-probe"])
def test_stem_is_below_every_cut(folder: Path, name: str) -> None:
    model = clip.load(str(folder))
    head = load_strategy(name)().attach(model, TASK.classes)
    assert find_cuts(head, TASK.classes).image > 0


def test_merged_run_loads_in_fewtune(folder: Path, tmp_path: Path) -> None:
    settings = {
        "strategy": "clip-lora",
        "backbone": str(folder),
        "shots": 2,
        "lr": 0.05,
        "steps_scale": 0.001,
    }
    job = Preparation().job(RunConfig.of({**settings, "runs": tmp_path / "runs"}), TASK)
    result = run(job, Tracker())
    exported = export_run(result.folder, "hf", tmp_path / "merged")  # compares the logits itself
    assert "clip.load" in (exported / "README.md").read_text()
    with pytest.raises(AdapterError, match="has a convolutional stem"):
        export_run(result.folder, "peft", tmp_path / "peft")


def test_transformers_refuses_the_folder(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="mismatched"):
        CLIPModel.from_pretrained(folder)


def test_unknown_stem_is_refused(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["stem"] = "resnet50"
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in ("model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).symlink_to(folder / name)
    with pytest.raises(AdapterError, match="'resnet50' with patch_size 32"):
        clip.load(str(tmp_path))
