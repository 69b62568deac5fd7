"""Folders in transformers' layout: loaded exactly, described, or refused with a reason."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from clip_builders import tiny_config, write_clip
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from fewtune.backbones.checkpoint import describe, load_checkpoint
from fewtune.core.errors import AdapterError


def test_model_equals_that_of_transformers(clip_folder: Path, tiny_model: CLIPModel) -> None:
    checkpoint = load_checkpoint(str(clip_folder))
    pixels = torch.randn(2, 3, 16, 16)
    ids, _ = checkpoint.tokenizer(["a cat", "a photo of a dog"])
    with torch.no_grad():
        ours, theirs = (
            m(input_ids=ids, pixel_values=pixels) for m in (checkpoint.model, tiny_model)
        )
    assert torch.equal(ours.logits_per_image, theirs.logits_per_image)
    assert not checkpoint.model.training
    assert not any(p.requires_grad for p in checkpoint.model.parameters())
    assert {
        str(t.device) for t in (*checkpoint.model.parameters(), *checkpoint.model.buffers())
    } == {"cpu"}
    assert checkpoint.name == str(clip_folder)


def test_revision_of_a_folder_is_the_digest_of_its_weights(clip_folder: Path) -> None:
    data = (clip_folder / "model.safetensors").read_bytes()
    expected = "sha256:" + hashlib.sha256(data).hexdigest()[:16]
    assert load_checkpoint(str(clip_folder)).revision == expected
    assert describe(str(clip_folder)).revision == expected


def test_half_precision_files_become_fp32(clip_folder: Path) -> None:
    path = clip_folder / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(path).items()}, path)
    config = json.loads((clip_folder / "config.json").read_text())
    config["torch_dtype"] = config["text_config"]["dtype"] = "float16"
    (clip_folder / "config.json").write_text(json.dumps(config))
    model = load_checkpoint(str(clip_folder)).model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.text_config.dtype in (None, torch.float32)


def test_pickle_with_old_constants_loads(clip_folder: Path, tiny_model: CLIPModel) -> None:
    state = dict(tiny_model.state_dict())
    state["text_model.embeddings.position_ids"] = torch.arange(20).expand(1, -1)
    state["vision_model.embeddings.position_ids"] = torch.arange(5).expand(1, -1)
    (clip_folder / "model.safetensors").unlink()
    torch.save(state, clip_folder / "pytorch_model.bin")
    loaded = load_checkpoint(str(clip_folder)).model.state_dict()
    assert loaded.keys() == tiny_model.state_dict().keys()
    assert all(torch.equal(loaded[k], v) for k, v in tiny_model.state_dict().items())


def test_sharded_weights_load(clip_folder: Path, tiny_model: CLIPModel) -> None:
    (clip_folder / "model.safetensors").unlink()
    state = list(tiny_model.state_dict().items())
    parts = {"model-1.safetensors": dict(state[:20]), "model-2.safetensors": dict(state[20:])}
    for name, part in parts.items():
        save_file(part, clip_folder / name)
    index = {"weight_map": {key: name for name, part in parts.items() for key in part}}
    (clip_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert describe(str(clip_folder)).logit_scale == pytest.approx(math.exp(2.6592))
    loaded = load_checkpoint(str(clip_folder)).model.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state)


def test_minimal_config_falls_back_to_the_class_defaults(clip_folder: Path) -> None:
    config = json.loads((clip_folder / "config.json").read_text())
    for tower in ("text_config", "vision_config"):
        for key in ("hidden_act", "eos_token_id", "bos_token_id", "pad_token_id"):
            config[tower].pop(key, None)
    (clip_folder / "config.json").write_text(json.dumps(config))
    facts = describe(str(clip_folder))
    assert (facts.activation, facts.pooling) == ("quick_gelu", "first token 49407")


class Payload:
    """Unpickling it would run code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickles_run_no_code(clip_folder: Path, tmp_path: Path) -> None:
    (clip_folder / "model.safetensors").unlink()
    torch.save({"weights": Payload(tmp_path / "ran")}, clip_folder / "pytorch_model.bin")
    with pytest.raises(AdapterError, match="Python objects besides tensors"):
        load_checkpoint(str(clip_folder))
    assert not (tmp_path / "ran").exists()


def damage_truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def damage_pointer(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "model.safetensors").write_text(text)


def damage_missing_key(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state.pop("text_model.final_layer_norm.bias")
    save_file(state, folder / "model.safetensors")


def damage_extra_key(folder: Path) -> None:
    state = {**load_file(folder / "model.safetensors"), "classifier.weight": torch.ones(2)}
    save_file(state, folder / "model.safetensors")


def damage_shape(folder: Path) -> None:
    state = {**load_file(folder / "model.safetensors"), "text_projection.weight": torch.ones(2, 2)}
    save_file(state, folder / "model.safetensors")


def damage_weights_absent(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def damage_config_json(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "clip"')


def damage_config_absent(folder: Path) -> None:
    (folder / "config.json").unlink()


def damage_siglip(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "siglip", "text_config": {}}')


def change_config(folder: Path, tower: str, key: str, value: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[tower][key] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncate, "cannot be read as .safetensors"),
        (damage_empty, "cannot be read as .safetensors"),
        (damage_pointer, "git-lfs pointer"),
        (damage_missing_key, r"lacks 'text_model.final_layer_norm.bias'\."),
        (damage_extra_key, "no place for 'classifier.weight'"),
        (damage_shape, r"has shape \(2, 2\), but the config asks for \(24, 64\)"),
        (damage_weights_absent, "lacks model.safetensors or pytorch_model.bin"),
        (damage_config_json, "not a readable JSON file"),
        (damage_config_absent, "lacks a CLIP config.json"),
        (damage_siglip, "type 'siglip'; only CLIP models"),
        (lambda f: change_config(f, "text_config", "hidden_act", "glu"), "can build"),
        (lambda f: change_config(f, "text_config", "hidden_size", "wide"), "can build"),
        (lambda f: change_config(f, "text_config", "num_attention_heads", 7), "can build"),
        (lambda f: change_config(f, "text_config", "eos_token_id", [1, 2]), "must be one number"),
        (lambda f: change_config(f, "vision_config", "image_size", [16, 8]), "must be one number"),
    ],
)
def test_unusable_folders_are_refused(
    clip_folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(clip_folder)
    with pytest.raises(AdapterError, match=message) as caught:
        load_checkpoint(str(clip_folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 cut short", b"not a pickle", b"\x80\x02}q\x00."]
)
def test_damaged_pickles_are_refused(clip_folder: Path, content: bytes) -> None:
    (clip_folder / "model.safetensors").unlink()
    (clip_folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(AdapterError, match=r"damaged|not a state dict|cannot be read"):
        load_checkpoint(str(clip_folder))


def test_facts_of_a_folder(tmp_path: Path) -> None:
    model = CLIPModel(tiny_config(eos_token_id=2, hidden_act="gelu"))
    folder = write_clip(tmp_path / "clip", model)
    facts = describe(str(folder))
    assert (facts.available, facts.status) == (True, "local")
    assert facts.activation == "quick_gelu / gelu"
    assert facts.pooling == "largest token id"
    assert facts.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert facts.parameters == sum(p.numel() for p in model.parameters())
    assert facts.image is not None
    assert (facts.image.width, facts.image.layers, facts.image.heads) == (64, 2, 2)
    assert (facts.patch_px, facts.embedding, facts.context) == (8, 24, 20)
    assert facts.preprocess is not None
    assert facts.preprocess.size_px == 16


def test_describe_reports_damage_instead_of_raising(clip_folder: Path) -> None:
    damage_config_json(clip_folder)
    facts = describe(str(clip_folder))
    assert not facts.available
    assert "not a readable JSON file" in facts.status


def test_loading_says_nothing_and_changes_no_setting(
    clip_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    level = logging.getLogger("transformers").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        load_checkpoint(str(clip_folder))
        assert warnings.filters == filters
    assert logging.getLogger("transformers").level == level
    assert capfd.readouterr() == ("", "")
