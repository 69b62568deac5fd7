"""State dicts in OpenAI's layout, which open_clip shares, as tensors of a transformers CLIPModel.

The two layouts hold the same numbers: OpenAI's attention keeps query, key and value in one matrix,
its projections are stored transposed, and the names differ. What has no place in a CLIPModel
(ResNet, timm and Hugging Face towers, layer scale, SigLIP's bias) is refused by name.
"""

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor

from fewtune.backbones.open_clip_config import OPENAI_MARKS, Extras
from fewtune.backbones.tokenizer import LARGEST_ID_RULE
from fewtune.core.errors import AdapterError, ConfigError

HEAD_WIDTH = 64
# Up to this width every published image tower has heads of 64 channels; above, they differ.
WIDEST_KNOWN = 1024

_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_TRANSPOSED = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)")
_BLOCK_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_FUSED = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")
_DROPPED = {*OPENAI_MARKS, "attn_mask"}
_TEXT_TOWER = re.compile(
    r"text\.(?=(transformer|token_embedding|positional_embedding|ln_final|text_projection"
    r"|attn_mask)\b)"
)
_FOREIGN = {
    "visual.trunk.": "a timm image tower",
    "visual.layer1.": "a ResNet image tower",
    "visual.attnpool.": "a ResNet image tower",
    "visual.attn_pool": "an attention-pooling image tower",
    "transformer.embeddings.": "a Hugging Face text tower",
    "text_decoder.": "a captioning decoder (CoCa)",
    "logit_bias": "the bias of a sigmoid loss (SigLIP)",
    "cls_emb": "a class token in the text tower (CoCa)",
}


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of any shape under OpenAI's names: no prefix, text tower at the top."""
    renamed = dict(tensors)
    for prefix in ("module.", "_orig_mod."):
        if renamed and all(name.startswith(prefix) for name in renamed):
            renamed = {name.removeprefix(prefix): tensor for name, tensor in renamed.items()}
    return {_TEXT_TOWER.sub("", name, count=1): tensor for name, tensor in renamed.items()}


def convert_tensors(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return a state dict under OpenAI's names as that of a CLIPModel, types unchanged.

    Fused (3 * W, W) attention weights become three (W, W), (W, D) projections (D, W).

    Raises:
        AdapterError: It is not that of a CLIP of two plain transformers; `file` is named.
    """
    converted: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name not in _DROPPED:
            converted.update(_convert_one(name, tensor, file))
    return converted


def model_settings(tensors: Mapping[str, Tensor], extras: Extras, file: Path) -> dict[str, Any]:
    """Return a CLIPConfig's settings: sizes from shapes, as of conv1 (W, 3, P, P), and `extras`.

    Raises:
        AdapterError: A tensor that tells a size is missing or has another shape.
        ConfigError: The number of heads is ambiguous.
    """
    try:
        patches = tensors["visual.conv1.weight"].shape
        positions = tensors["visual.positional_embedding"].shape[0]
        vocabulary, text_width = tensors["token_embedding.weight"].shape
        context = tensors["positional_embedding"].shape[0]
        embedding = tensors["text_projection"].shape[1]
        vision = _tower("visual.transformer", tensors, extras.hidden_act)
        text = _tower("transformer", tensors, extras.hidden_act)
        width, channels, height_px, patch_px = patches
    except (KeyError, ValueError, IndexError) as error:
        raise AdapterError(
            f"{file} is not the state dict of a CLIP: {error} is missing or has another shape.",
            hint="Supported: OpenAI's ViT weights and open_clip's models of the same layout.",
        ) from error
    grid = isqrt(positions - 1)
    if grid * grid + 1 != positions or height_px != patch_px:
        raise AdapterError(f"{file}: only square images and patches are supported.")
    if width > WIDEST_KNOWN and extras.vision_heads is None:
        raise ConfigError(
            f"{file} does not tell the number of heads of its image tower, {width} wide.",
            hint=f'Add "vision_heads" to {file.name}.json.',
        )
    vision |= {
        "hidden_size": width,
        "num_attention_heads": _heads(width, extras.vision_heads, file),
        "layer_norm_eps": extras.vision_eps,
        "num_channels": channels,
        "patch_size": patch_px,
        "image_size": patch_px * grid,
        "projection_dim": embedding,
    }
    text |= {
        "hidden_size": text_width,
        "num_attention_heads": _heads(text_width, extras.text_heads, file),
        "layer_norm_eps": extras.text_eps,
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        "projection_dim": embedding,
        "eos_token_id": LARGEST_ID_RULE,
    }
    return {"vision_config": vision, "text_config": text, "projection_dim": embedding}


def _convert_one(name: str, tensor: Tensor, file: Path) -> dict[str, Tensor]:
    if name in _NAMES:
        return {_NAMES[name]: tensor}
    if name in _TRANSPOSED and tensor.ndim == 2:
        return {_TRANSPOSED[name]: tensor.T.contiguous()}
    if name == "logit_scale" and tensor.numel() == 1:
        return {name: tensor.reshape(())}
    if match := _FUSED.fullmatch(name):
        layer, kind = _layer(match[1], match[2]), match[3]
        parts = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{layer}.self_attn.{p}_proj.{kind}": part.clone() for p, part in parts}
    match = _BLOCK.fullmatch(name)
    if match and match[3] in _BLOCK_NAMES:
        return {f"{_layer(match[1], match[2])}.{_BLOCK_NAMES[match[3]]}.{match[4]}": tensor}
    if name.startswith(("text_model.", "vision_model.")):
        raise AdapterError(
            f"{file} is in transformers' layout ('{name}'), which needs its config.json.",
            hint="Pass the folder that holds both instead of the file.",
        )
    kind = next((what for start, what in _FOREIGN.items() if name.startswith(start)), "")
    raise AdapterError(
        f"{file} is not a CLIP of two plain transformers: '{name}'"
        f"{f' belongs to {kind}' if kind else ' has no place in one'}.",
        hint="Supported: OpenAI's ViT weights and open_clip's models of the same layout.",
    )


def _layer(visual: str | None, index: str) -> str:
    return f"{'vision' if visual else 'text'}_model.encoder.layers.{index}"


def _tower(prefix: str, tensors: Mapping[str, Tensor], activation: str) -> dict[str, Any]:
    blocks = {
        int(name.removeprefix(f"{prefix}.resblocks.").split(".")[0])
        for name in tensors
        if name.startswith(f"{prefix}.resblocks.")
    }
    return {
        "num_hidden_layers": max(blocks, default=-1) + 1,
        "intermediate_size": tensors[f"{prefix}.resblocks.0.mlp.c_fc.weight"].shape[0],
        "hidden_act": activation,
    }


def _heads(width: int, given: int | None, file: Path) -> int:
    heads = given or width // HEAD_WIDTH
    if heads < 1 or width % heads or (given is None and width % HEAD_WIDTH):
        raise ConfigError(
            f"{file}: a tower {width} wide cannot be split into {heads} equal heads.",
            hint=f'Set "vision_heads" and "text_heads" in {file.name}.json.',
        )
    return heads
