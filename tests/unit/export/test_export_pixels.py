"""What an export makes of image files is what the live model sees, whatever their size and kind."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, CLIPImageProcessor

from fewtune.backbones.config_files import processor_settings
from fewtune.core.preprocess import Preprocess
from fewtune.core.task import Example
from fewtune.data.decode import InMemory
from fewtune.exports.pixels import pixels
from fewtune.training.image_loader import ImageLoader

MODES = {"RGB": "PNG", "L": "PNG", "P": "PNG", "RGBA": "PNG", "CMYK": "JPEG", "I;16": "PNG"}
HOW = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}


def files(side: int, count: int) -> list[bytes]:
    """Pictures of every margin that a crop may leave, and of odd sizes, upright and turned."""
    rng, noise = random.Random(side), np.random.default_rng(side)
    sizes = [(side, side + margin) for margin in range(12)]
    sizes += [(side + 2, 2 * side + 1), (1, 2), (3, 250), (7 * side + 3, side)]
    sizes += [(rng.randint(3, 5 * side), rng.randint(3, 5 * side)) for _ in range(count)]
    encoded = []
    for index, (width, height) in enumerate(sizes):
        mode = list(MODES)[index % len(MODES)]
        kind = np.uint16 if mode == "I;16" else np.uint8
        values = noise.integers(0, np.iinfo(kind).max, (height, width, 3), dtype=kind)
        image = Image.fromarray(values[..., 0] if mode == "I;16" else values)
        exif, file = Image.Exif(), io.BytesIO()
        exif[Image.ExifTags.Base.Orientation] = 1 + index % 8
        (image if mode == "I;16" else image.convert(mode)).save(file, MODES[mode], exif=exif)
        encoded.append(file.getvalue())
    return encoded


def loader(encoded: list[bytes], preprocess: Preprocess) -> ImageLoader:
    examples = [Example(str(i), 0, InMemory(file)) for i, file in enumerate(encoded)]
    return ImageLoader(examples, preprocess)


@pytest.mark.parametrize("side", [32, 33, 48, 224])
@pytest.mark.parametrize("policy", ["crop", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest", "lanczos"])
def test_its_pixels_are_the_live_ones(side: int, policy: Any, interpolation: Any) -> None:
    how = Preprocess(side, **HOW, interpolation=interpolation, policy=policy)
    encoded = files(side, 8 if side > 48 else 60)
    wanted = loader(encoded, how).raw(range(len(encoded)), None)
    for file, image in zip(encoded, wanted, strict=True):
        found = pixels(io.BytesIO(file), processor_settings(how))
        assert np.array_equal(found, image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("backend", ["torchvision", "pil"])
@pytest.mark.parametrize("policy", ["crop", "squash"])
def test_the_image_processor_normalises_as_the_live_model(
    backend: str, policy: Any, tmp_path: Any
) -> None:
    how = Preprocess(32, **HOW, policy=policy)
    settings = processor_settings(how)
    CLIPImageProcessor(**settings).save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(
        tmp_path, backend=backend, do_resize=False, do_center_crop=False
    )
    encoded = files(32, 20)
    images = [pixels(io.BytesIO(file), settings) for file in encoded]
    found = torch.as_tensor(np.array(processor(images, return_tensors="np").pixel_values))
    wanted = loader(encoded, how).batch(range(len(encoded)), None)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("margin", "offset"), [(1, 0), (2, 1), (3, 2), (5, 2), (7, 4), (9, 4)])
def test_a_crop_is_rounded_to_even(margin: int, offset: int) -> None:
    rows = np.arange(8 + margin, dtype=np.uint8)[:, None].repeat(8, 1)
    file = io.BytesIO()
    Image.fromarray(rows).save(file, "PNG")
    found = pixels(file, processor_settings(Preprocess(8, **HOW)))
    assert found[0, 0, 0] == offset
