"""Pixels as the tuned model wants them, from any image file, with numpy and Pillow alone.

transformers' image processors round the centre crop down, where torchvision and the authors of
CLIP round it to even: for a quarter of all image sizes they cut one pixel further up or left.
"""

from typing import Any

import numpy as np
from PIL import Image, ImageOps


def pixels(file: Any, settings: dict[str, Any]) -> Any:
    """Return an image as uint8 (S, S, 3), by the settings of a preprocessor_config.json."""
    image = ImageOps.exif_transpose(Image.open(file))
    if image.mode.startswith("I"):  # 16 bits: 65535 is white
        image = Image.fromarray(((np.asarray(image).astype(int) + 128) // 257).astype(np.uint8))
    side, short = settings["crop_size"]["height"], min(image.size)
    keep_shape = settings["do_center_crop"]
    size = [side * edge // short if keep_shape else side for edge in image.size]
    image = image.convert("RGB").resize(size, settings["resample"])
    left, top = (round((edge - side) / 2) for edge in size)
    return np.array(image.crop((left, top, left + side, top + side)))
