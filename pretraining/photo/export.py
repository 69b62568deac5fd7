"""Writes a model folder that FewTune loads: config, weights in half precision, processor."""

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from fewtune.backbones.conv_stem import EfficientNetLite0
from pretraining.photo.network import VISION, build
from pretraining.photo.targets import DIM
from pretraining.picto import checkpoint
from pretraining.picto.export import TOKENIZER_FILES

SIDE_PX = 224
PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": SIDE_PX},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": SIDE_PX, "width": SIDE_PX},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [127 / 255] * 3,  # (x - 127) / 128, as the teacher was trained
    "image_std": [128 / 255] * 3,
}


def assemble(trunk: Path, text: Path, stem: EfficientNetLite0) -> CLIPModel:
    """Return the model of a trunk checkpoint, a folder with a text tower, and the stem."""
    config = json.loads((text / "text_config.json").read_text(encoding="utf-8"))
    model = build(config)
    groups, _ = checkpoint.load(trunk)
    tensors = dict(load_file(text / "text.safetensors"))
    for name, tensor in groups["model"].items():
        part, _, rest = name.partition(".")
        prefix = {"vision": "vision_model.", "projection": "visual_projection.", "head": ""}[part]
        tensors[prefix + rest] = tensor
    for name, tensor in stem.state_dict().items():
        tensors[f"vision_model.embeddings.patch_embedding.stem.{name}"] = tensor
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model.eval()


def write_folder(model: CLIPModel, tokenizer: Path, target: Path) -> None:
    """Write everything but the card."""
    target.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    (target / "model.safetensors").chmod(0o644)
    _write_json(target / "config.json", _config(model))
    _write_json(target / "preprocessor_config.json", PREPROCESSOR)
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, target / name)


def _config(model: CLIPModel) -> dict[str, Any]:
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": DIM,
        "text_config": model.config.text_config.to_diff_dict(),
        "vision_config": VISION,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
