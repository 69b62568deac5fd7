"""Facts next to an OpenAI or open_clip state dict, which its shapes do not tell.

The activation above all: QuickGELU and GELU weights look alike, and the wrong one costs accuracy
without any error. So it is read, in this order, and never guessed:

1. `<file>.json` of the user: `{"hidden_act": "gelu"}`, further keys optional;
2. `open_clip_config.json` in the same folder, as open_clip writes it;
3. marks that only OpenAI's own half-precision weights carry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from fewtune.backbones.config_files import (
    CLIP_MEAN,
    CLIP_STD,
    OPEN_CLIP_CONFIG,
    channel_values,
    read_object,
)
from fewtune.core.errors import AdapterError, ConfigError
from fewtune.core.preprocess import Channels, Interpolation, Preprocess, ResizePolicy

OPENAI_MARKS = ("input_resolution", "context_length", "vocab_size")

_POLICIES: dict[str, ResizePolicy] = {"shortest": "crop", "squash": "squash"}
_SIDECAR_KEYS = {
    "hidden_act", "vision_heads", "text_heads", "mean", "std", "interpolation", "resize_mode",
}  # fmt: skip
# Options that shapes or inference make irrelevant, and the values of others that mean plain CLIP.
_HARMLESS = {
    "image_size", "layers", "width", "patch_size", "head_width", "heads", "mlp_ratio",
    "patch_dropout", "context_length", "vocab_size", "norm_kwargs", "hf_tokenizer_name",
    "hf_model_pretrained", "hf_proj_type", "hf_pooler_type", "timm_model_pretrained", "timm_pool",
    "timm_proj", "attn_pooler_queries", "attn_pooler_heads", "pad_id", "eos_id", "output_tokens",
}  # fmt: skip
_PLAIN = {
    "pool_type": ("tok", "argmax"),
    "pos_embed_type": ("learnable",),
    "proj_type": ("linear",),
    "block_type": ("default",),
}


@dataclass(frozen=True)
class Extras:
    """The facts next to a state dict; `None` heads mean one head per 64 channels."""

    hidden_act: str
    vision_heads: int | None = None
    text_heads: int | None = None
    vision_eps: float = 1e-5
    text_eps: float = 1e-5
    mean: Channels = CLIP_MEAN
    std: Channels = CLIP_STD
    interpolation: Interpolation = "bicubic"
    policy: ResizePolicy = "crop"

    def preprocess(self, size_px: int) -> Preprocess:
        """Return these settings for an image tower that takes `size_px`."""
        return Preprocess(size_px, self.mean, self.std, self.interpolation, self.policy)


def read_extras(file: Path, tensors: Mapping[str, Tensor]) -> Extras:
    """Return what lies next to the weights in `file`.

    Args:
        tensors: Those in the file by OpenAI's names, in their shapes.

    Raises:
        ConfigError: Nothing says which activation the weights were trained with.
        AdapterError: A file next to it is damaged, or asks for more than plain CLIP.
    """
    sidecar = file.with_name(file.name + ".json")
    for path, read in (
        (sidecar, _from_sidecar),
        (file.parent / OPEN_CLIP_CONFIG, _from_open_clip),
    ):
        if path.is_file():
            try:
                return read(path)
            except (AttributeError, TypeError, ValueError, ZeroDivisionError) as error:
                raise AdapterError(f"{path} holds a value of the wrong kind: {error}.") from error
    halves = tensors.get("visual.proj", torch.empty(0)).dtype == torch.float16
    if halves and all(mark in tensors for mark in OPENAI_MARKS):
        return Extras("quick_gelu")
    raise ConfigError(
        f"{file} does not tell its activation, and a wrong one costs accuracy without an error.",
        hint=f"OpenAI's and most MetaCLIP and DFN weights use quick_gelu, LAION's use gelu: write "
        f'{{"hidden_act": "gelu"}} (or "quick_gelu") into {sidecar}.',
    )


def _from_sidecar(path: Path) -> Extras:
    found = read_object(path)
    unknown = sorted(set(found) - _SIDECAR_KEYS)
    if unknown or found.get("hidden_act") not in ("gelu", "quick_gelu"):
        wrong = f"unknown key '{unknown[0]}'" if unknown else "no valid 'hidden_act'"
        raise ConfigError(
            f"{path} has {wrong}.",
            hint=f'hidden_act is "gelu" or "quick_gelu"; keys: {", ".join(sorted(_SIDECAR_KEYS))}.',
        )
    for key in ("vision_heads", "text_heads"):
        if key in found and (not isinstance(found[key], int) or found[key] < 1):
            raise ConfigError(f"{path}: {key} is a number of heads, found {found[key]!r}.")
    return Extras(
        found["hidden_act"],
        found.get("vision_heads"),
        found.get("text_heads"),
        **_pixels(found, path),
    )


def _from_open_clip(path: Path) -> Extras:
    content = read_object(path)
    model = content.get("model_cfg", content)
    try:
        vision, text = dict(model["vision_cfg"]), dict(model["text_cfg"])
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterError(
            f"{path} is not a config of open_clip: it lacks vision_cfg or text_cfg."
        ) from error
    for tower, options in (("vision_cfg", vision), ("text_cfg", text)):
        for key, value in options.items():
            if value and key not in _HARMLESS and value not in _PLAIN.get(key, ()):
                raise AdapterError(
                    f"{path}: {tower}.{key} = {value!r} is beyond a plain CLIP and cannot be "
                    "converted.",
                    hint="Look for a transformers version of these weights on the hub.",
                )
    width, head_width = vision.get("width"), vision.get("head_width", 64)
    return Extras(
        "quick_gelu" if model.get("quick_gelu") else "gelu",
        width // head_width if width else None,
        text.get("heads"),
        _epsilon(vision, path),
        _epsilon(text, path),
        **_pixels(content.get("preprocess_cfg") or {}, path),
    )


def _epsilon(options: Mapping[str, Any], path: Path) -> float:
    settings = options.get("norm_kwargs") or {}
    if set(settings) - {"eps"}:
        raise AdapterError(f"{path}: norm_kwargs {settings} cannot be converted.")
    return float(settings.get("eps", 1e-5))


def _pixels(found: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return mean, std, interpolation and policy from open_clip's names for them."""
    interpolation = found.get("interpolation") or "bicubic"
    mode = found.get("resize_mode") or "shortest"
    if interpolation not in get_args(Interpolation) or mode not in _POLICIES:
        raise AdapterError(
            f"{path}: interpolation '{interpolation}' with resize_mode '{mode}' is not supported.",
            hint=f"Supported: {', '.join(get_args(Interpolation))}; {', '.join(_POLICIES)}.",
        )
    return {
        "mean": channel_values(found.get("mean"), CLIP_MEAN, path),
        "std": channel_values(found.get("std"), CLIP_STD, path),
        "interpolation": interpolation,
        "policy": _POLICIES[mode],
    }
