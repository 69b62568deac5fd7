"""Image decoding: any image file, buffer or array as 8-bit RGB, or an error that says why not.

Pixels are those of `Image.open(path).convert("RGB")`, which most pipelines use, except:

- The EXIF orientation is applied.
- 16-bit grey is scaled to 8 bits (65535 becomes 255); plain `convert` would clip it to white.
- Floating-point pixels are refused, since their range is unknown.

Transparency is dropped, not composited: the colours stored under it show. The first frame or page
of a file is used.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.core.errors import DataError, RunError
from fewtune.core.task import ImageSource
from fewtune.data import test_guard
from fewtune.data.label_table import plain
from fewtune.data.quiet_pillow import silence_pillow

if TYPE_CHECKING:
    from PIL.Image import Image

# 537 MiB as RGB: enough for 108-megapixel phone photos, too little for decompression bombs.
MAX_PIXELS = 178_956_970
# Models see the shorter side at 224 pixels and more: a longer one would then take gigabytes.
MAX_ASPECT = 250

# What files that are not images usually are, by their first bytes.
_IMPOSTORS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer (run `git lfs pull`)"),
    (b"<!doctype html", "a web page (a failed download?)"),
    (b"<html", "a web page (a failed download?)"),
    (b"<svg", "an SVG drawing (save it as PNG)"),
    (b"<?xml", "an XML or SVG file (save drawings as PNG)"),
    (b"%pdf", "a PDF (save its pages as PNG)"),
    (b"pk\x03\x04", "a zip archive"),
)
_EPS = (b"%!PS", b"\xc5\xd0\xd3\xc6")


@dataclass(frozen=True)
class InMemory:
    """An image source that holds its image: bytes, a PIL image, or a numpy array of uint8."""

    value: object

    def read(self) -> object:
        """Return the image as it was given."""
        return self.value


class Unreadable(Exception):
    """Why an image cannot be read, without its name."""


def open_image(source: Any) -> Image:
    """Return the image as 8-bit RGB.

    Args:
        source: A path, an `ImageSource`, encoded bytes, a PIL image, or a numpy array of uint8 with
            shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Raises:
        DataError: The image cannot be read; the message has its path and the reason.
        RunError: It is a test image of a run that is still in training.
    """
    try:
        return to_rgb(open_stored(source))
    except Unreadable as reason:
        raise DataError(
            f"Cannot read image {_name(source)}: {reason}.", hint="Replace or remove it."
        ) from reason


def open_stored(source: Any) -> Image:
    """Return the image as stored, possibly still encoded; sources are those of `open_image`.

    Raises:
        Unreadable: It is not an image, too large, or a thin line.
        RunError: It is a test image of a run that is still in training.
    """
    refuse_test_image(source)
    silence_pillow()
    if isinstance(source, str | Path) and _is_special(Path(source)):
        raise Unreadable("it is no regular file")
    try:
        payload = _payload(source)
    except Exception as error:  # a source may read anything: a disk, an archive, a network
        raise Unreadable(_reason(error)) from error
    image = _open(payload)
    if image.width < 1 or image.height < 1:
        raise Unreadable(f"it has no pixels ({image.width} x {image.height})")
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(_too_large(image.width, image.height))
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise Unreadable(f"it is a line of {image.width} x {image.height} pixels (crop it first)")
    return image


def _is_special(path: Path) -> bool:
    """Whether this is a pipe, a socket or a device, which may block its reader for ever."""
    return path.exists() and not path.is_file() and not path.is_dir()


def to_rgb(stored: Image) -> Image:
    """Decode a stored image and return it upright, as 8-bit RGB.

    Raises:
        Unreadable: The file is damaged, or its pixels are floating-point numbers.
    """
    try:
        stored.load()
        return _to_rgb(_upright(stored))
    except Unreadable:
        raise
    except Exception as error:  # Pillow's plug-ins raise whatever their parsers stumble on
        raise Unreadable(_reason(error)) from error


def refuse_test_image(source: Any) -> None:
    """Refuse a test image of a run that is still in training.

    Raises:
        RunError: It is one; the message names the image and what the run was doing.
    """
    doing = test_guard.activity(source)
    if doing:
        raise RunError(
            f"Test image {_name(source)} was read while {doing}: its run would have been scored on "
            "what it has seen.",
            hint="Training and validation images are all that a strategy may use.",
        )


def _payload(source: Any) -> Any:
    """Return bytes, a PIL image or an array."""
    if isinstance(source, str | Path):
        return Path(source).read_bytes()
    if _is_pil(source) or not isinstance(source, ImageSource):
        return source
    return source.read()


def _is_pil(value: Any) -> bool:
    return hasattr(value, "convert") and hasattr(value, "getbands")


def _open(payload: Any) -> Image:
    if _is_pil(payload):
        image: Image = payload
        return image
    if isinstance(payload, bytes | bytearray | memoryview):
        return _open_bytes(bytes(payload))
    if hasattr(payload, "__array_interface__"):
        return _from_array(payload)
    raise Unreadable(
        f"a {type(payload).__module__}.{type(payload).__name__} is neither a path, bytes, a "
        "PIL image nor a numpy array"
    )


def _open_bytes(data: bytes) -> Image:
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    if not data:
        raise Unreadable("the file is empty (0 bytes)")
    if data.startswith(_EPS):  # Pillow would have Ghostscript run the program in it
        raise Unreadable("it is not an image but an EPS drawing (save it as PNG)")
    try:
        return pillow.open(io.BytesIO(data))
    except pillow.DecompressionBombError as error:
        raise Unreadable(_too_large()) from error
    except UnidentifiedImageError as error:
        raise Unreadable(_what_it_is(data)) from error
    except Exception as error:
        raise Unreadable(_reason(error)) from error


def _from_array(array: Any) -> Image:
    from PIL import Image as pillow

    if str(array.dtype) != "uint8":
        raise Unreadable(
            f"the array is {array.dtype}, expected uint8 from 0 to 255 "
            "(for floats in [0, 1]: (255 * x).round().astype('uint8'))"
        )
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise Unreadable(
            f"the array has shape {tuple(array.shape)}, expected (height, width) or "
            "(height, width, channels) with 1, 3 or 4 channels"
        )
    if array.size == 0:
        raise Unreadable(f"the array has no pixels (shape {tuple(array.shape)})")
    return pillow.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _upright(image: Image) -> Image:
    """Apply the EXIF orientation; a damaged EXIF block is ignored."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # only the metadata is damaged, not the pixels
        return image


def _to_rgb(image: Image) -> Image:
    if image.mode.startswith("I"):
        image = _scale_to_8_bits(image)
    elif image.mode == "F":
        raise Unreadable("it has floating-point pixels (save it with 8 or 16 bits a channel)")
    elif image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")
    return image.convert("RGB")


def _scale_to_8_bits(image: Image) -> Image:
    """Map 0..65535 to 0..255, rounding to nearest."""
    import numpy as np
    from PIL import Image as pillow

    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise Unreadable(f"its pixels run from {values.min()} to {values.max()}, beyond 16 bits")
    scaled = np.empty(values.shape, np.uint8)
    for row, of in enumerate(values):  # row by row: a photo of 100 megapixels would take gigabytes
        scaled[row] = (of.astype(np.int32) + 128) // 257
    return pillow.fromarray(scaled)


def _too_large(*size: int) -> str:
    found = " x ".join(map(str, size)) + " pixels" if size else "far too many pixels"
    return f"it has {found}, more than {MAX_PIXELS // 1_000_000} million (shrink it first)"


def _what_it_is(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    for magic, name in _IMPOSTORS:
        if start.startswith(magic):
            return f"it is not an image but {name}"
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "it is a HEIC photo (save it as JPEG)"
    return "it is not an image of a known format"


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = " ".join(plain(text).split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _name(source: Any) -> str:
    if isinstance(source, str | Path):
        return plain(str(source))
    text = str(source) if isinstance(source, ImageSource) and not _is_pil(source) else ""
    return text if 0 < len(text) <= 200 else f"of type {type(source).__name__}"
