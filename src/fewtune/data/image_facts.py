"""Image facts for data reports: what decoding shows about each image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fewtune.data.decode import Unreadable, open_stored, to_rgb

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)  # ImageNet has 1.3 million of them
class ImageFacts:
    """What decoding shows about an image.

    Attributes:
        format: Pillow's file format ("PNG"); empty for arrays and unread files.
        mode: Pillow's mode as stored ("RGB", "L", "P", "CMYK", "I;16").
        width: Pixels, with the EXIF orientation applied.
        height: Pixels, with the EXIF orientation applied.
        bits: Bits per channel as stored: 8 or 16.
        peak: Brightest value of an image with 16 bits; 0 for others.
        transparent: True if transparency was dropped.
        digest: Hash of size and decoded RGB pixels.
    """

    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    frames: int = 1
    bits: int = 8
    peak: int = 0
    transparent: bool = False
    digest: str = ""
    error: str | None = None


def inspect_image(source: Any) -> ImageFacts:
    """Decode the whole image and return what was found; bad images raise no error."""
    try:
        stored = open_stored(source)
        bits = 16 if _is_16_bit(stored) else 8
        image = to_rgb(stored)
    except Unreadable as reason:
        return ImageFacts(error=str(reason))
    return ImageFacts(
        format=stored.format or "",
        mode=stored.mode,
        width=image.width,
        height=image.height,
        frames=_frames(stored),
        bits=bits,
        peak=_peak(stored) if bits == 16 else 0,
        transparent=_is_transparent(stored),
        digest=pixel_digest(image),
    )


def _is_16_bit(image: Image) -> bool:
    """Return whether an image has 16 bits per channel; `load` forgets it for colour images."""
    tiles = getattr(image, "tile", ())
    return image.mode.startswith("I") or any(";16" in str(tile) for tile in tiles)


def _is_transparent(image: Image) -> bool:
    try:
        return image.has_transparency_data
    except Exception:  # a palette that is missing
        return False


def _peak(image: Image) -> int:
    """Return the brightest of 16-bit values, of which Pillow keeps 8 bits in colour images."""
    extrema: list[Any] = [band.getextrema() for band in image.split()]
    return int(max(most for _, most in extrema) * (1 if image.mode.startswith("I") else 257))


def _frames(image: Image) -> int:
    # Phones store previews and stereo pairs in MPO files, which are not animations.
    if image.format in (None, "MPO"):
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # later frames are damaged, but only the first is used
        return 2


def pixel_digest(image: Image) -> str:
    """Return 32 hexadecimal digits that decoded images share if their pixels are equal."""
    hashed = hashlib.blake2b(f"{image.width} {image.height} ".encode(), digest_size=16)
    hashed.update(image.tobytes())
    return hashed.hexdigest()
