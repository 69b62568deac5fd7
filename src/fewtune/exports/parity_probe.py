"""Probe images: files of odd sizes and kinds on which an export and the live model are compared."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch import Tensor

from fewtune.backbones.config_files import processor_settings
from fewtune.core.errors import AdapterError
from fewtune.core.preprocess import Preprocess
from fewtune.core.task import Example
from fewtune.data.decode import InMemory, open_image
from fewtune.exports.pixels import pixels
from fewtune.model.towers import Prompts
from fewtune.training.image_loader import ImageLoader

SIZES_PX = ((320, 240), (240, 320), (97, 256), (64, 64), (640, 200), (224, 224))
MARGINS_PX = (1, 2, 3, 7)  # by which the longer side exceeds the model's own, and is cut
TURNED = 6  # the EXIF orientation of a phone held upright


@dataclass(frozen=True)
class Probe:
    """Image files, and how the live model sees them.

    Attributes:
        files: N encoded images.
        examples: The same, each with label 0.
    """

    files: tuple[bytes, ...]
    examples: tuple[Example, ...]
    preprocess: Preprocess

    @classmethod
    def make(cls, preprocess: Preprocess, images: Sequence[Path] = ()) -> Probe:
        """Return the built-in probe images, and after them the given ones.

        Raises:
            DataError: An image cannot be read.
        """
        for path in images:
            open_image(path)
        files = [_encoded(i, image) for i, image in enumerate(probe_images(preprocess.size_px))]
        files += [path.read_bytes() for path in images]
        examples = tuple(Example(str(i), 0, InMemory(file)) for i, file in enumerate(files))
        return cls(tuple(files), examples, preprocess)

    @property
    def _loader(self) -> ImageLoader:
        return ImageLoader(self.examples, self.preprocess)

    @cached_property
    def pixels(self) -> Tensor:
        """What the live model sees: (N, 3, S, S), normalised."""
        return self._loader.batch(range(len(self.files)), None)

    @cached_property
    def exported(self) -> NDArray[np.uint8]:
        """What the exported `pixels.py` makes of the files: uint8 (N, S, S, 3).

        Raises:
            AdapterError: The live model sees other pixels.
        """
        settings = processor_settings(self.preprocess)
        found = np.stack([pixels(io.BytesIO(file), settings) for file in self.files])
        wanted = self._loader.raw(range(len(self.files)), None).permute(0, 2, 3, 1).numpy()
        if not np.array_equal(found, wanted):
            raise AdapterError("The export was refused: its pixels.py makes other pixels.")
        return found


def probe_images(side: int = 224) -> list[Image.Image]:
    """Return pictures of several shapes: coarse random colours, smoothed, with fine noise.

    Args:
        side: Of the model's input, in pixels.
    """
    rng = np.random.default_rng(0)
    pictures = []
    for size in (*SIZES_PX, *((side, side + margin) for margin in MARGINS_PX)):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))
        noisy = smooth + rng.normal(0, 12, smooth.shape)
        pictures.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    return pictures


def _encoded(index: int, image: Image.Image) -> bytes:
    """Return a picture as a PNG or a JPEG, some grey, of few colours or turned by EXIF."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = TURNED if index % 3 == 0 else 1
    mode = ("RGB", "RGB", "L", "CMYK", "P", "RGBA")[index % 6]
    kind = "JPEG" if mode in ("RGB", "CMYK") else "PNG"
    image.convert(mode).save(file, kind, exif=exif)
    return file.getvalue()


def ensemble(embeddings: Tensor, prompts: Prompts) -> Tensor:
    """Return normalised class embeddings (C, D) of prompt embeddings (P, D)."""
    rows = F.normalize(embeddings, dim=-1)
    owner = torch.tensor(prompts.owner)
    means = [rows[owner == label].mean(0) for label in range(len(prompts.classes))]
    return F.normalize(torch.stack(means), dim=-1)
