"""Probe images: an export and the live model are compared on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fewtune.core.preprocess import Preprocess
from fewtune.core.task import Example
from fewtune.data.decode import InMemory, open_image
from fewtune.model.towers import Prompts
from fewtune.training.image_loader import ImageLoader

SIZES_PX = ((320, 240), (240, 320), (97, 256), (64, 64), (640, 200), (224, 224))


@dataclass(frozen=True)
class Probe:
    """Images and what the backbone makes of them.

    Attributes:
        examples: The images, each with label 0.
        pixels: (N, 3, S, S), normalised.
    """

    examples: tuple[Example, ...]
    pixels: Tensor

    @classmethod
    def make(cls, preprocess: Preprocess, images: Sequence[Path] = ()) -> Probe:
        """Return the built-in probe images, and after them the given ones."""
        pictures = [*probe_images(), *(open_image(path) for path in images)]
        examples = tuple(Example(str(i), 0, InMemory(p)) for i, p in enumerate(pictures))
        return cls(examples, ImageLoader(examples, preprocess).batch(range(len(examples)), None))


def probe_images() -> list[Image.Image]:
    """Return pictures of several shapes: coarse random colours, smoothed, with fine noise."""
    rng = np.random.default_rng(0)
    pictures = []
    for width, height in SIZES_PX:
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        noisy = smooth + rng.normal(0, 12, smooth.shape)
        pictures.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    return pictures


def ensemble(embeddings: Tensor, prompts: Prompts) -> Tensor:
    """Return normalised class embeddings (C, D) of prompt embeddings (P, D)."""
    rows = F.normalize(embeddings, dim=-1)
    owner = torch.tensor(prompts.owner)
    means = [rows[owner == label].mean(0) for label in range(len(prompts.classes))]
    return F.normalize(torch.stack(means), dim=-1)
