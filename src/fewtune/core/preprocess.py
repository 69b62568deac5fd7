"""How a backbone wants its pixels: read from its checkpoint, and what papers did instead."""

from dataclasses import dataclass
from typing import Any, Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
ResizePolicy = Literal["crop", "squash"]
PreprocessPolicy = Literal["checkpoint", "clip", "clip-benchmark", "vpt", "noah", "peft4clip"]
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocess:
    """Resize and normalisation of one backbone.

    Attributes:
        size_px: Side of the square input.
        mean: Per-channel mean of RGB in [0, 1].
        std: Per-channel standard deviation of RGB in [0, 1].
        policy: "crop" resizes the shorter side and cuts the centre; "squash" resizes both sides.
    """

    size_px: int
    mean: Channels
    std: Channels
    interpolation: Interpolation = "bicubic"
    policy: ResizePolicy = "crop"


_CLIP = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_CLIP_CROP = {"resize": "crop", "interpolation": "bicubic", **_CLIP}
# What papers and their code do to images, in the terms of a run. Those of VPT and NOAH are for a
# ViT of ImageNet-21k. TensorFlow, which VPT and peft4clip's VTAB-1k runs resize with, takes
# its bilinear samples without averaging; here shrinking averages.
POLICIES: dict[PreprocessPolicy, dict[str, Any]] = {
    "checkpoint": {},
    "clip": _CLIP_CROP,
    "clip-benchmark": _CLIP_CROP,
    "vpt": {"resize": "squash", "interpolation": "bilinear", **_IMAGENET},
    "noah": {"resize": "squash", "interpolation": "bicubic", **_IMAGENET},
    "peft4clip": {"resize": "squash", "interpolation": "bilinear", **_CLIP},
}


def preprocessing(
    name: PreprocessPolicy = "checkpoint", resize: ResizePolicy | None = None
) -> dict[str, Any]:
    """Return the fields of a spec that a policy sets; `resize` counts more than the policy."""
    return {**POLICIES[name], **({"resize": resize} if resize else {})}
