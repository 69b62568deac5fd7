"""Writes the sample task of the quickstart: photographs of the small clothing set as one zip.

Members are `train/<class>/<name>.jpg` and `test/<class>/<name>.jpg`, each photo scaled to 224 px on
its short side, and `LICENSE`. Test images are those of the set's own test part, filled up from its
validation part and then its training part to 50 per class; no image is in both splits.
"""

import io
import os
import random
import zipfile
from pathlib import Path

from PIL import Image, ImageOps

from pretraining.photo.evaluate import CLOTHING

SAMPLE_SEED = 0
TRAIN_IMAGES, TEST_IMAGES = 16, 50  # of each class
SIDE_PX, QUALITY = 224, 68
STAMP = (2020, 10, 17, 0, 0, 0)  # a fixed date, so that the same images make the same file
LICENCE = """Clothing dataset (small): a sample of its photographs, scaled to 224 px.
https://github.com/alexeygrigorev/clothing-dataset-small

The photographs were contributed by volunteers and are in the public domain under CC0 1.0:
https://creativecommons.org/publicdomain/zero/1.0/
"""


def write_sample(folder: Path, target: Path) -> None:
    """Draw the images of the set in `folder` and write `target` atomically."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        _member(archive, "LICENSE", LICENCE.encode(), zipfile.ZIP_DEFLATED)
        for name, title in CLOTHING.items():
            train, test = _drawn(folder, name)
            for split, paths in (("train", train), ("test", test)):
                for path in paths:
                    member = f"{split}/{title}/{path.stem}.jpg"
                    _member(archive, member, _jpeg(path), zipfile.ZIP_STORED)
    os.replace(partial, target)


def _drawn(folder: Path, name: str) -> tuple[list[Path], list[Path]]:
    parts = {}
    for split in ("train", "validation", "test"):
        parts[split] = sorted((folder / split / name).iterdir())
        random.Random(f"{SAMPLE_SEED} {split} {name}").shuffle(parts[split])
    train = parts["train"][:TRAIN_IMAGES]
    others = [*parts["test"], *parts["validation"], *parts["train"][TRAIN_IMAGES:]]
    return train, others[:TEST_IMAGES]


def _jpeg(path: Path) -> bytes:
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    scale = SIDE_PX / min(image.size)
    size = round(image.width * scale), round(image.height * scale)
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(
        buffer, "JPEG", quality=QUALITY, optimize=True
    )
    return buffer.getvalue()


def _member(archive: zipfile.ZipFile, name: str, content: bytes, method: int) -> None:
    info = zipfile.ZipInfo(name, STAMP)
    info.compress_type = method
    archive.writestr(info, content)
