"""Image loader: from examples to normalised pixels, a batch ahead of its use.

A view is a pure function of (seed, image key, view number), so a cached and a streamed run, or a
resumed one, see the same pixels.
"""

import hashlib
import math
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from fewtune.core.preprocess import Preprocess
from fewtune.core.spec import Recipe
from fewtune.core.task import Example
from fewtune.data.decode import open_image
from fewtune.training.device import send

TF: Any = functional  # torchvision is not typed

CROP_RATIO = (3 / 4, 4 / 3)


class ImageLoader:
    """The images of a list of examples, as normalised pixels.

    Args:
        examples: N images; batches index into them.
        recipe: Augmentation of views; None when only the test transform is used.

    Attributes:
        keep_bytes: Size of the decoded images that stay in memory, for those that are read again.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        preprocess: Preprocess,
        recipe: Recipe | None = None,
        seed: int = 0,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        self.examples = examples
        self.preprocess = preprocess
        self.recipe = recipe
        self.seed = seed
        self.keep_bytes = 0.0
        self.device = torch.device(device)
        self._interpolation = InterpolationMode(preprocess.interpolation)
        self._mean = torch.tensor(preprocess.mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(preprocess.std, device=device).view(3, 1, 1)
        self._decoded: dict[int, Image.Image] = {}
        self._decoded_bytes = 0
        self._pool = ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1)))
        self._ahead: dict[tuple[int, int | None], Future[Tensor]] = {}

    @property
    def augmented(self) -> bool:
        """Whether two views of an image differ."""
        return self.recipe is not None and self.recipe.crop_scale is not None

    def prefetch(self, indices: Iterable[int], view: int | None) -> None:
        """Begin to read the images of a coming batch in the background."""
        for index in indices:
            if (index, view) not in self._ahead:
                self._ahead[index, view] = self._pool.submit(self._uint8, index, view)

    def batch(self, indices: Sequence[int], view: int | None) -> Tensor:
        """Return normalised pixels (B, 3, S, S) of one view; None is the test transform."""
        return self.normalise(self.raw(indices, view))

    def raw(self, indices: Sequence[int], view: int | None) -> Tensor:
        """Return the pixels (B, 3, S, S) of one view before normalisation, as uint8 on the CPU."""
        self.prefetch(indices, view)
        reading = {index: self._ahead.pop((index, view)) for index in dict.fromkeys(indices)}
        return torch.stack([reading[index].result() for index in indices])

    def normalise(self, raw: Tensor) -> Tensor:
        """Normalise raw pixels: uint8 (B, 3, S, S) -> fp32 (B, 3, S, S) on the device."""
        pixels = send(raw, self.device).float()
        return pixels.div_(255).sub_(self._mean).div_(self._std)

    def test_view(self, image: Image.Image) -> Tensor:
        """Return an image by the test transform, before normalisation: uint8 (3, S, S)."""
        size = self.preprocess.size_px
        squash = self.preprocess.policy == "squash"
        image = TF.resize(image, [size, size] if squash else [size], self._interpolation)
        pixels: Tensor = TF.pil_to_tensor(TF.center_crop(image, [size, size]))
        return pixels

    def forget(self) -> None:
        """Release the decoded images: all their views are cached elsewhere."""
        self.keep_bytes = 0
        self._decoded.clear()

    def _uint8(self, index: int, view: int | None) -> Tensor:
        image = self._image(index)
        if view is None or not self.augmented:
            return self.test_view(image)
        pixels: Tensor = TF.pil_to_tensor(self._view(image, index, view))
        return pixels

    def _image(self, index: int) -> Image.Image:
        image = self._decoded.get(index)
        if image is None:
            image = open_image(self.examples[index].source)
            size_bytes = 3 * image.width * image.height
            if self._decoded_bytes + size_bytes <= self.keep_bytes:
                self._decoded[index] = image
                self._decoded_bytes += size_bytes
        return image

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
