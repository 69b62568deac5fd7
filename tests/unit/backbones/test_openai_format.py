"""OpenAI's and open_clip's state dicts, against an independent CLIP in that layout."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from fewtune.backbones.checkpoint import build_model, describe, load_checkpoint
from fewtune.backbones.open_clip_config import Extras
from fewtune.backbones.openai_format import convert_tensors, model_settings, plain_names
from fewtune.core.errors import AdapterError, ConfigError, FewTuneError
from openai_clip import ReferenceClip, reference


def inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(3, 3, 24, 24, dtype=dtype, generator=generator)
    ids = torch.randint(0, 49406, (2, 9), generator=generator)
    ids[0, 8], ids[1, 5:] = 49407, 49407
    return pixels, ids


def difference(model: CLIPModel, expected: ReferenceClip, dtype: torch.dtype) -> float:
    pixels, ids = inputs(dtype)
    image = model.get_image_features(pixel_values=pixels).pooler_output
    text = model.get_text_features(input_ids=ids).pooler_output
    errors = (image - expected.visual(pixels), text - expected.text(ids))
    return max(float(error.abs().max()) for error in errors)


@pytest.fixture
def state_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a state dict, and a sidecar next to it."""

    def write(state: Any, sidecar: Any = None, name: str = "clip.pt") -> Path:
        path = tmp_path / name
        if path.suffix == ".safetensors":
            save_file(state, path)
        else:
            torch.save(state, path)
        if sidecar is not None:
            path.with_name(path.name + ".json").write_text(json.dumps(sidecar))
        return path

    return write


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("name", ["clip.pt", "clip.bin", "clip.safetensors"])
def test_converted_file_equals_the_reference(
    state_file: Callable[..., Path], activation: str, name: str
) -> None:
    expected = reference(activation)
    path = state_file(expected.state_dict(), {"hidden_act": activation}, name)
    checkpoint = load_checkpoint(str(path))
    assert difference(checkpoint.model, expected, torch.float32) < 1e-5
    assert float(checkpoint.model.logit_scale) == 4.0
    assert checkpoint.preprocess.size_px == 24
    assert checkpoint.tokenizer.context == 16
    assert checkpoint.revision.startswith("sha256:")


def test_conversion_is_exact_in_double_precision() -> None:
    expected = reference().double()
    state = plain_names(expected.state_dict())
    settings = model_settings(state, Extras("quick_gelu"), Path("x"))
    converted = convert_tensors(state, Path("x"))
    model = build_model(CLIPConfig(**settings), converted, Path("x"), torch.float64)
    assert difference(model, expected, torch.float64) < 1e-12


def test_the_wrong_activation_would_show() -> None:
    state = reference("quick_gelu").state_dict()
    settings = model_settings(state, Extras("gelu"), Path("x"))
    model = build_model(CLIPConfig(**settings), convert_tensors(state, Path("x")), Path("x"))
    assert difference(model, reference("quick_gelu"), torch.float32) > 1e-3


def distributed(state: dict[str, Tensor]) -> Any:
    return {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}


def text_style(state: dict[str, Tensor]) -> Any:
    top = ("visual.", "logit_scale")
    return {key if key.startswith(top) else f"text.{key}": v for key, v in state.items()} | {
        "text.attn_mask": torch.zeros(16, 16)
    }


@pytest.mark.parametrize("wrap", [distributed, text_style])
def test_wrapped_names(state_file: Callable[..., Path], wrap: Callable[[Any], Any]) -> None:
    expected = reference("gelu")
    path = state_file(wrap(expected.state_dict()), {"hidden_act": "gelu"})
    assert difference(load_checkpoint(str(path)).model, expected, torch.float32) < 1e-5


def test_openai_half_precision_is_recognised_by_its_marks(state_file: Callable[..., Path]) -> None:
    expected = reference()
    state = expected.half().state_dict() | {
        "input_resolution": torch.tensor(24),
        "context_length": torch.tensor(16),
        "vocab_size": torch.tensor(49408),
    }
    model = load_checkpoint(str(state_file(state))).model
    assert model.config.vision_config.hidden_act == "quick_gelu"
    assert difference(model, expected.float(), torch.float32) < 1e-5


def test_activation_is_never_guessed(state_file: Callable[..., Path]) -> None:
    path = state_file(reference().half().state_dict())
    with pytest.raises(ConfigError, match=re.escape('{"hidden_act": "gelu"} (or "quick_gelu")')):
        load_checkpoint(str(path))
    facts = describe(str(path))
    assert not facts.available
    assert "does not tell its activation" in facts.status


OPEN_CLIP = {
    "model_cfg": {
        "embed_dim": 48,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 24, "layers": 3, "width": 128, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 4},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.5, 0.5],
        "interpolation": "bilinear",
        "resize_mode": "squash",
    },
}


def test_folder_of_open_clip(tmp_path: Path) -> None:
    config = json.loads(json.dumps(OPEN_CLIP))
    config["model_cfg"]["vision_cfg"]["head_width"] = 32
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch16_clip_224"}')
    expected = reference(heads=(4, 4))
    save_file(expected.state_dict(), tmp_path / "open_clip_model.safetensors")
    checkpoint = load_checkpoint(str(tmp_path))
    assert difference(checkpoint.model, expected, torch.float32) < 1e-5
    found = checkpoint.preprocess
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.25, 0.5, 0.5))
    assert (found.interpolation, found.policy) == ("bilinear", "squash")
    facts = describe(str(tmp_path))
    assert facts.logit_scale == pytest.approx(54.598, rel=1e-4)
    assert facts.activation == "quick_gelu"


@pytest.mark.parametrize(
    ("tower", "key", "value"),
    [
        ("text_cfg", "no_causal_mask", True),
        ("text_cfg", "pool_type", "last"),
        ("text_cfg", "tokenizer_kwargs", {"clean": "canonicalize"}),
        ("text_cfg", "hf_model_name", "roberta-base"),
        ("vision_cfg", "timm_model_name", "vit_base"),
        ("vision_cfg", "final_ln_after_pool", True),
        ("vision_cfg", "head_width", "wide"),
        ("vision_cfg", "norm_kwargs", {"elementwise_affine": False}),
    ],
)
def test_options_that_weights_do_not_show_are_refused(
    tmp_path: Path, tower: str, key: str, value: Any
) -> None:
    config = json.loads(json.dumps(OPEN_CLIP))
    config["model_cfg"][tower][key] = value
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(reference().state_dict(), tmp_path / "open_clip_model.safetensors")
    with pytest.raises(AdapterError, match=rf"{key}|wrong kind"):
        load_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("visual.trunk.blocks.0.norm1.weight", "a timm image tower"),
        ("visual.layer1.0.conv1.weight", "a ResNet image tower"),
        ("text.transformer.embeddings.word_embeddings.weight", "a Hugging Face text tower"),
        ("logit_bias", "SigLIP"),
        ("transformer.resblocks.0.ls_1.gamma", "has no place in one"),
        ("fc.weight", "has no place in one"),
        ("text_model.final_layer_norm.bias", "Pass the folder"),
    ],
)
def test_foreign_entries_are_refused_by_name(
    state_file: Callable[..., Path], extra: str, message: str
) -> None:
    path = state_file({**reference().state_dict(), extra: torch.zeros(1)})
    with pytest.raises(AdapterError, match=message):
        load_checkpoint(str(path))


@pytest.mark.parametrize(
    "missing",
    [
        "visual.conv1.weight",
        "ln_final.bias",
        "visual.transformer.resblocks.1.attn.in_proj_bias",
        "transformer.resblocks.0.mlp.c_fc.weight",
    ],
)
def test_missing_entries_are_named(state_file: Callable[..., Path], missing: str) -> None:
    state = reference().state_dict()
    del state[missing]
    with pytest.raises(AdapterError, match=r"is missing|lacks"):
        load_checkpoint(str(state_file(state, {"hidden_act": "gelu"})))


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ({}, "no valid 'hidden_act'"),
        ({"hidden_act": "relu"}, "no valid 'hidden_act'"),
        ({"hidden_act": "gelu", "size": 24}, "unknown key 'size'"),
        ({"hidden_act": "gelu", "text_heads": 5}, "5 equal heads"),
        ({"hidden_act": "gelu", "vision_heads": "2"}, "number of heads"),
        ({"hidden_act": "gelu", "mean": [1, 2]}, "three numbers"),
        ({"hidden_act": "gelu", "resize_mode": "longest"}, "not supported"),
        ([], "not an object"),
    ],
)
def test_bad_sidecars(state_file: Callable[..., Path], sidecar: Any, message: str) -> None:
    path = state_file(reference().state_dict(), sidecar)
    with pytest.raises(FewTuneError, match=message):
        load_checkpoint(str(path))


def test_wide_towers_need_their_number_of_heads() -> None:
    state = reference().state_dict()
    state["visual.conv1.weight"] = torch.empty(1280, 3, 14, 14, device="meta")
    with pytest.raises(ConfigError, match="number of heads of its image tower, 1280 wide"):
        model_settings(state, Extras("gelu"), Path("x"))
    assert (
        model_settings(state, Extras("gelu", 16), Path("x"))["vision_config"]["num_attention_heads"]
        == 16
    )


def test_torchscript_archive_is_not_run(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "ViT-B-16.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ViT-B-16/constants.pkl", b"")
        archive.writestr("ViT-B-16/data.pkl", b"")
    with pytest.raises(AdapterError, match=r"TorchScript archive.*ViT-B16"):
        load_checkpoint(str(path))
