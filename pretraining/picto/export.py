"""Writes a model folder that plain `transformers` loads: config, weights, tokenizer, processor."""

import shutil
from pathlib import Path

import torch
from transformers import CLIPImageProcessor, CLIPModel

from pretraining.picto.network import IMAGE_PX, PIXEL_MEAN, PIXEL_STD

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def image_processor() -> CLIPImageProcessor:
    """Bicubic resize of the shorter side to 48 px, centre crop, mean and deviation of a half."""
    return CLIPImageProcessor(
        size={"shortest_edge": IMAGE_PX},
        crop_size={"height": IMAGE_PX, "width": IMAGE_PX},
        resample=3,
        image_mean=[PIXEL_MEAN] * 3,
        image_std=[PIXEL_STD] * 3,
    )


def export(model: CLIPModel, tokenizer_folder: Path, target: Path) -> None:
    """Writes `model` in half precision with its tokenizer and processor into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.half() for name, tensor in model.state_dict().items()}
    model.save_pretrained(target, state_dict=weights)
    (target / "model.safetensors").chmod(0o644)
    _record_dtype(target / "config.json")
    image_processor().save_pretrained(target)
    for name in TOKENIZER_FILES:
        if tokenizer_folder != target:
            shutil.copyfile(tokenizer_folder / name, target / name)


def _record_dtype(path: Path) -> None:
    """The configuration names the type of the stored tensors."""
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"dtype": "float32"', '"dtype": "float16"'), encoding="utf-8")


def reload(folder: Path) -> CLIPModel:
    """The exported model in full precision, as plain `transformers` loads it."""
    return CLIPModel.from_pretrained(folder, dtype=torch.float32)
