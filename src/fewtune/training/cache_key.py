"""Key of a cached tensor: everything that decides the activations of one view, to the bit."""

import contextlib
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fewtune.core.task import Example
from fewtune.data.arrays import content_digest
from fewtune.model.dual_encoder import DualEncoder
from fewtune.training.image_loader import ImageLoader

# Raise it whenever decoding, views or the test transform come to give other pixels.
PIXELS_VERSION = 1
VERSIONS = {name: version(name) for name in ("torch", "torchvision", "pillow")}


def cache_key(
    model: DualEncoder, images: ImageLoader, view: int | None, stage: int, **more: Any
) -> dict[str, Any]:
    """Return the key of one view of all images, as JSON values.

    Args:
        view: Number of the view; None is the test transform.
        stage: The stage that the activations enter.
        more: What else decides them: batch size, precision, digests of the data and of a probe.
    """
    device, recipe = model.device, images.recipe
    augmentation: dict[str, Any] = {}
    if view is not None and recipe is not None:
        augmentation = {"crop_scale": recipe.crop_scale, "flip": recipe.flip}
        augmentation |= {"seed": images.seed, "view": view}
    return {
        "backbone": model.name,
        "revision": model.revision,
        "stage": [*(s.name for s in model.image.stages()), "end"][stage],
        "images": len(images.examples),
        "augmentation": augmentation,
        "preprocess": asdict(model.preprocess),
        "pixels": PIXELS_VERSION,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "versions": VERSIONS,
        **more,
    }


def image_identity(example: Example) -> list[Any]:
    """Return what tells an image from all others: key, path, size and time of change, or contents.

    Of an image that cannot be read only the key is told: what decodes it says why.
    """
    source = example.source
    with contextlib.suppress(Exception):
        if isinstance(source, Path):
            info = source.stat()
            return [example.key, str(source.absolute()), info.st_size, info.st_mtime_ns]
        return [example.key, content_digest(source.read())]
    return [example.key]
