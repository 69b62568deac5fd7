"""How a backbone wants its pixels: read from its checkpoint, stored with every run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
ResizePolicy = Literal["crop", "squash"]


@dataclass(frozen=True)
class Preprocess:
    """Resize and normalisation of one backbone.

    Attributes:
        size_px: Side of the square input.
        mean: Per-channel mean of RGB in [0, 1].
        std: Per-channel standard deviation of RGB in [0, 1].
        interpolation: Resampling filter.
        policy: "crop" resizes the shorter side and cuts the centre; "squash" resizes both sides.
    """

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bicubic"
    policy: ResizePolicy = "crop"
