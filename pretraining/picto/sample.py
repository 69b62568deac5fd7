"""Writes the sample task of the quickstart: a few images of Fashion-MNIST as one zip of PNGs.

Members are `train/<class>/<index>.png` and `test/<class>/<index>.png`, where the index is the
image's place in the official file of that split, and `LICENSE`.
"""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pretraining.picto.evaluate import FASHION_CLASSES, draw, read_fashion

SAMPLE_SEED = 0
TRAIN_IMAGES, TEST_IMAGES = 16, 100  # of each class
STAMP = (2017, 8, 25, 0, 0, 0)  # a fixed date, so that the same images make the same file
LICENCE = """Fashion-MNIST, a sample of its images, unchanged.
https://github.com/zalandoresearch/fashion-mnist

The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _member(archive: zipfile.ZipFile, name: str, content: bytes, method: int) -> None:
    info = zipfile.ZipInfo(name, STAMP)
    info.compress_type = method
    archive.writestr(info, content)


def write_sample(fashion_folder: Path, target: Path) -> None:
    """Draws 16 training and 100 test images per class and writes `target` atomically."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        _member(archive, "LICENSE", LICENCE.encode(), zipfile.ZIP_DEFLATED)
        for split, source, count in (
            ("train", "train", TRAIN_IMAGES),
            ("test", "t10k", TEST_IMAGES),
        ):
            pixels, labels = read_fashion(fashion_folder, source)
            for index in draw(labels, count, SAMPLE_SEED):
                name = f"{split}/{FASHION_CLASSES[labels[index]]}/{index:05d}.png"
                _member(archive, name, _png(pixels[index]), zipfile.ZIP_STORED)
    os.replace(partial, target)
