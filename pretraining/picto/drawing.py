"""Renders icons and stores them as 4-bit pictures: grey masks, or 15 colours and transparent."""

import io
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

SIZE_PX = 48
PALETTE_COLOURS = 15


def svg_of(icon: dict[str, Any], icons: dict[str, Any]) -> str:
    """The SVG document of one icon of an Iconify set, drawn in black."""
    left, top = icon.get("left", icons.get("left", 0)), icon.get("top", icons.get("top", 0))
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    side = max(width, height)
    # Icons that are not square are centred.
    left, top = left - (side - width) / 2, top - (side - height) / 2
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="{left} {top} {side} {side}" color="#000">{icon["body"]}</svg>'
    )


def rasterise(svg: str, size_px: int = SIZE_PX) -> NDArray[np.uint8]:
    """Pixels (P, P, 4) of an SVG document."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size_px, height=size_px)
    with Image.open(io.BytesIO(bytes(png))) as picture:
        return np.asarray(picture.convert("RGBA"))


def is_blank(mask: NDArray[np.uint8]) -> bool:
    """Whether a drawing is empty or a full square: nothing to learn from."""
    share = float(mask.mean()) / 255
    return share < 0.01 or share > 0.97


def pack_nibbles(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two 4-bit values a byte: (..., 2n) with values 0 to 15 becomes (..., n)."""
    return np.asarray(levels[..., 0::2] << 4 | levels[..., 1::2], dtype=np.uint8)


def unpack_nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The inverse of `pack_nibbles`."""
    levels = np.empty((*packed.shape[:-1], packed.shape[-1] * 2), dtype=np.uint8)
    levels[..., 0::2] = packed >> 4
    levels[..., 1::2] = packed & 15
    return levels


def encode_mono(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask (P, P) as P * P / 2 bytes of 16 grey levels."""
    return pack_nibbles(((alpha.astype(np.uint16) * 15 + 127) // 255).astype(np.uint8).ravel())


def encode_colour(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels (P, P, 4) as P * P / 2 bytes (0 is transparent) and a palette (16, 3)."""
    alpha = pixels[..., 3:].astype(np.float32) / 255
    solid = (pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    paletted = Image.fromarray(solid).quantize(PALETTE_COLOURS)
    levels = np.minimum(np.asarray(paletted), PALETTE_COLOURS - 1).astype(np.uint8) + 1
    levels[alpha[..., 0] < 0.25] = 0
    colours = np.asarray(paletted.getpalette(), dtype=np.uint8).reshape(-1, 3)[:PALETTE_COLOURS]
    palette = np.full((PALETTE_COLOURS + 1, 3), 255, dtype=np.uint8)
    palette[1 : 1 + len(colours)] = colours
    return pack_nibbles(levels.ravel()), palette


def darkness(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask (P, P) for hashing: how much ink a pixel shows on white paper."""
    grey = pixels[..., :3].astype(np.float32).mean(axis=-1)
    ink = (255 - grey) * (pixels[..., 3].astype(np.float32) / 255)
    return np.asarray(ink, dtype=np.uint8)
