"""From examples to batches: decode, view, normalise, and keep what need not be computed again.

A view is a pure function of (seed, image key, view number), so a cached and a streamed run, or a
resumed one, see the same pixels.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from fewtune.core.model import DualEncoder, Partial
from fewtune.core.preprocess import Preprocess
from fewtune.core.spec import Recipe
from fewtune.core.task import Example
from fewtune.data.decode import open_image

TF: Any = functional  # torchvision is not typed

CROP_RATIO = (3 / 4, 4 / 3)
DECODED_BUDGET_BYTES = 1 << 30


class Pixels:
    """The images of a list of examples, as normalised pixels.

    Args:
        examples: What to read; batches index into it.
        preprocess: Size, normalisation and resize policy.
        recipe: Augmentation of views; None when only the test transform is used.
        seed: Seed of the views.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        preprocess: Preprocess,
        recipe: Recipe | None = None,
        seed: int = 0,
    ) -> None:
        self.examples = examples
        self.preprocess = preprocess
        self.recipe = recipe
        self.seed = seed
        self._interpolation = InterpolationMode(preprocess.interpolation)
        self._mean = torch.tensor(preprocess.mean).view(3, 1, 1)
        self._std = torch.tensor(preprocess.std).view(3, 1, 1)
        self._decoded: dict[int, Image.Image] = {}
        self._decoded_bytes = 0
        self._pool = ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1)))

    def batch(self, indices: Sequence[int], view: int | None) -> Tensor:
        """Return normalised pixels (B, 3, S, S) of one view; None is the test transform."""
        images = list(self._pool.map(lambda index: self._uint8(index, view), indices))
        return (torch.stack(images).float() / 255 - self._mean) / self._std

    def _uint8(self, index: int, view: int | None) -> Tensor:
        image = self._image(index)
        plain = view is None or self.recipe is None or self.recipe.crop_scale is None
        pixels: Tensor = TF.pil_to_tensor(
            self._test(image) if plain else self._view(image, index, view)
        )
        return pixels

    def _image(self, index: int) -> Image.Image:
        image = self._decoded.get(index)
        if image is None:
            image = open_image(self.examples[index].source)
            size_bytes = 3 * image.width * image.height
            if self._decoded_bytes + size_bytes <= DECODED_BUDGET_BYTES:
                self._decoded[index] = image
                self._decoded_bytes += size_bytes
        return image

    def _test(self, image: Image.Image) -> Image.Image:
        size = self.preprocess.size_px
        squash = self.preprocess.policy == "squash"
        image = TF.resize(image, [size, size] if squash else [size], self._interpolation)
        cropped: Image.Image = TF.center_crop(image, [size, size])
        return cropped

    def _view(self, image: Image.Image, index: int, view: int | None) -> Image.Image:
        assert self.recipe is not None
        assert self.recipe.crop_scale is not None
        rng = view_rng(self.seed, self.examples[index].key, view)
        top, left, height, width = random_crop(
            rng, image.width, image.height, self.recipe.crop_scale
        )
        size = self.preprocess.size_px
        crop: Image.Image = TF.resized_crop(
            image, top, left, height, width, [size, size], self._interpolation
        )
        mirrored: Image.Image = TF.hflip(crop) if self.recipe.flip and rng.random() < 0.5 else crop
        return mirrored


def view_rng(seed: int, key: str, view: int | None) -> random.Random:
    """Return the random stream of one view of one image."""
    name = f"{seed}\0{key}\0{view}".encode()
    return random.Random(hashlib.sha256(name).digest())


def random_crop(
    rng: random.Random, width: int, height: int, least_area: float
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a crop, distributed as torchvision's RandomResizedCrop.

    The area is uniform in [least_area, 1] of the image, the aspect ratio log-uniform in
    [3/4, 4/3]; after ten misses, the largest central crop within these ratios.
    """
    for _ in range(10):
        area = width * height * rng.uniform(least_area, 1)
        ratio = math.exp(rng.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.randint(0, height - h), rng.randint(0, width - w), h, w
    w, h = width, height
    if width / height < CROP_RATIO[0]:
        h = round(w / CROP_RATIO[0])
    elif width / height > CROP_RATIO[1]:
        w = round(h * CROP_RATIO[1])
    return (height - h) // 2, (width - w) // 2, h, w


def chunks(count: int, size: int) -> Iterator[range]:
    """Yield ranges that cover 0..count-1 in order."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


class TrainingInputs:
    """Training batches as they enter the image tower at its cut.

    With a limited number of views, activations at the cut are computed once per view and kept.

    Args:
        cut: Leading stages that nothing trainable influences; 0 streams pixels.
    """

    def __init__(self, model: DualEncoder, pixels: Pixels, recipe: Recipe, cut: int) -> None:
        self.model = model
        self.pixels = pixels
        self.views = recipe.views
        self.cut = cut
        self._kept: dict[int, Tensor] = {}

    def batch(self, indices: Sequence[int], epoch: int) -> Partial:
        """Return the batch that an epoch sees of these images."""
        view = epoch % self.views if self.views else epoch
        if not self.views or self.cut == 0:
            return self.model.pixels(self.pixels.batch(indices, view))
        return Partial(self.model.image, self.view(view)[list(indices)], self.cut)

    def view(self, view: int) -> Tensor:
        """Return the activations of all images in one view, at the cut: (N, ...)."""
        if view not in self._kept:
            self._kept[view] = self._compute(view)
        return self._kept[view]

    @torch.no_grad()
    def _compute(self, view: int | None) -> Tensor:
        parts = [
            self.model.pixels(self.pixels.batch(part, view)).advance(self.cut).x
            for part in chunks(len(self.pixels.examples), 64)
        ]
        return torch.cat(parts)
