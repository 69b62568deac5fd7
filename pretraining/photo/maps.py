"""Cached stem maps: what the frozen stem makes of each view, one row of a file each.

A row is the map before the stem's last convolution, 7 x 7 x 320 in half precision (31 KB); that
convolution is repeated in training, which costs less than reading four times as much. The file
grows in the order of the views, so `cache` can stop and go on, and training can start on a
beginning of it.
"""

import json
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fewtune.backbones.conv_stem import EfficientNetLite0
from pretraining.photo.pool import View

SIDE_PX = 224
GRID = 7
TOKENS, CHANNELS = GRID * GRID, 320
CROP_SHARE = (0.3, 1.0)  # of the area
CROP_RATIO = 4 / 3


def open_view(path: Path, number: int, seed: int = 0) -> Image.Image:
    """Return a view of 224 x 224 px: 0 is a centre crop, each other number a random crop."""
    with Image.open(path) as opened:
        opened.draft("RGB", (2 * SIDE_PX, 2 * SIDE_PX))
        image = opened.convert("RGB")
    width, height = image.size
    if number == 0:
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, box)
    draw = random.Random(f"{seed} {path.name} {number}")
    area = width * height * draw.uniform(*CROP_SHARE)
    ratio = CROP_RATIO ** draw.uniform(-1, 1)
    wide, high = min(width, (area * ratio) ** 0.5), min(height, (area / ratio) ** 0.5)
    left, top = draw.uniform(0, width - wide), draw.uniform(0, height - high)
    box = (left, top, left + wide, top + high)
    image = image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, box)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else image


def pixels(images: list[Image.Image]) -> Tensor:
    """Return (B, 3, 224, 224), normalised as the teacher was trained: (x - 127) / 128."""
    stacked = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return (stacked.permute(0, 3, 1, 2).float() - 127) / 128


@torch.no_grad()
def stem_maps(stem: EfficientNetLite0, images: list[Image.Image]) -> NDArray[np.float16]:
    """Return (B, 49, 320)."""
    device = stem.first.weight.device
    with torch.autocast(device.type, torch.bfloat16):
        maps = stem.narrow(pixels(images).to(device))
    return maps.flatten(2).transpose(1, 2).float().cpu().numpy().astype(np.float16)


def cache(stem: EfficientNetLite0, listed: list[View], folder: Path, batch: int = 32) -> None:
    """Write the rows of the views that are not there yet into `folder/maps.f16`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "maps.f16"
    row = TOKENS * CHANNELS * 2
    done = path.stat().st_size // row if path.exists() else 0
    described = [[view.pool, view.path.name, view.number] for view in listed]
    (folder / "views.json").write_text(json.dumps(described), encoding="utf-8")
    started, first = time.time(), done
    with path.open("ab") as file:
        os.ftruncate(file.fileno(), done * row)
        while done < len(listed):
            part = listed[done : done + batch]
            maps = stem_maps(stem, [open_view(view.path, view.number) for view in part])
            file.write(maps.tobytes())
            file.flush()
            done += len(part)
            if done // batch % 50 == 0:
                rate = (done - first) / (time.time() - started)
                print(f"{done} of {len(listed)} views, {rate:.0f} a second", flush=True)


def read_maps(folder: Path) -> NDArray[np.float16]:
    """Return all complete rows, mapped into memory: (N, 49, 320)."""
    path = folder / "maps.f16"
    count = path.stat().st_size // (TOKENS * CHANNELS * 2)
    return np.memmap(path, np.float16, "r", shape=(count, TOKENS, CHANNELS))
