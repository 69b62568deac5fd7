"""Images inside larger files: archives, record files, arrays.

Sources hold no open file, so other processes can read them.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fewtune.core.errors import DataError


@dataclass(frozen=True, slots=True)
class FileSlice:
    """An encoded image: a range of bytes of a file."""

    path: Path
    offset: int
    size: int

    def __str__(self) -> str:
        return f"at byte {self.offset} of {self.path}"

    def read(self) -> bytes:
        """Return the bytes of the image."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise DataError(f"{self.path} ends within the image at byte {self.offset}.")
        return data


@dataclass(frozen=True, slots=True)
class GreySlice:
    """A grey image: a range of bytes of a file, one byte per pixel."""

    slice: FileSlice
    height: int
    width: int

    def __str__(self) -> str:
        return str(self.slice)

    def read(self) -> Any:
        """Return an array (height, width) of uint8."""
        return np.frombuffer(self.slice.read(), np.uint8).reshape(self.height, self.width)


@dataclass(frozen=True, slots=True)
class BitSlice(GreySlice):
    """A black and white image: a range of bytes of a file, eight pixels per byte."""

    def read(self) -> Any:
        """Return an array (height, width) of uint8, 0 or 255."""
        bits = np.unpackbits(np.frombuffer(self.slice.read(), np.uint8))
        return bits.reshape(self.height, self.width) * np.uint8(255)


@dataclass(frozen=True, slots=True)
class ZeroOneSlice:
    """An encoded image with pixels 0 and 1, as TFDS stores dSprites; 1 is read as white."""

    slice: FileSlice

    def __str__(self) -> str:
        return str(self.slice)

    def read(self) -> Any:
        """Return an array (height, width[, channels]) of uint8, 0 or 255."""
        with Image.open(io.BytesIO(self.slice.read())) as image:
            return (np.asarray(image) > 0).astype(np.uint8) * 255
