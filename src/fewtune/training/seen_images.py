"""Images that a run has learned from: found again by content, so that they never count as test.

A run stores of each training and validation image a digest of its pixels and a thumbnail of 8 x 8
grey values. Equal pixels are the same image whatever its name. A thumbnail that hardly differs is
probably a copy that was resized or saved again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewtune.core.errors import DataError
from fewtune.core.files import read_json, write_sealed
from fewtune.core.task import Example
from fewtune.data.decode import open_image
from fewtune.data.image_facts import pixel_digest

FILE = "seen.json"
SIDE = 8
# Saving again or halving moves a grey value of a thumbnail by a few of 255.
NEAR_MEAN, NEAR_MOST = 2.5, 12.0
PLAIN = 4.0  # deviation of a thumbnail below which it says too little
READERS = 8
ROWS_AT_A_TIME = 1024

Thumbnails = NDArray[np.float32]


@dataclass(frozen=True)
class SeenImages:
    """What a run stores of the images that it has learned from.

    Attributes:
        digests: Of the decoded pixels.
        thumbnails: (N, 64) grey values in [0, 255].
    """

    digests: frozenset[str]
    thumbnails: Thumbnails

    @classmethod
    def read(cls, run: Path) -> SeenImages | None:
        """Return what a run's folder holds; None for a run of a version that stored nothing.

        Raises:
            RunError: The file is damaged.
        """
        path = run / FILE
        if not path.exists():
            return None
        stored = read_json(path)
        grey = [list(bytes.fromhex(text)) for text in stored["thumbnails"]]
        thumbnails = np.array(grey, dtype=np.float32).reshape(-1, SIDE * SIDE)
        return cls(frozenset(stored["digests"]), thumbnails)

    def divide(self, examples: Sequence[Example]) -> DividedImages:
        """Return which of these images are new, and which look like seen ones."""
        prints = print_all(examples)
        unseen = [i for i, found in enumerate(prints) if found.digest not in self.digests]
        new = tuple(examples[i] for i in unseen)
        near = self._near(np.array([prints[i].grey for i in unseen], dtype=np.float32))
        return DividedImages(
            new,
            len(examples) - len(new),
            tuple(example.key for example, found in zip(new, near, strict=True) if found),
        )

    def _near(self, thumbnails: Thumbnails) -> list[bool]:
        near: list[bool] = []
        for start in range(0, len(thumbnails), ROWS_AT_A_TIME):
            part = thumbnails[start : start + ROWS_AT_A_TIME]
            found = np.zeros(len(part), dtype=bool)
            for seen in self.thumbnails:
                difference = np.abs(part - seen)
                found |= (difference.mean(1) <= NEAR_MEAN) & (difference.max(1) <= NEAR_MOST)
            near += (found & (part.std(1) > PLAIN)).tolist()
        return near


@dataclass(frozen=True)
class DividedImages:
    """Images of which some were learned from.

    Attributes:
        new: Those that were not.
        seen: How many were.
        similar: Keys of new ones that look like seen ones.
    """

    new: tuple[Example, ...]
    seen: int
    similar: tuple[str, ...] = ()

    def notes(self) -> list[str]:
        """Return what must be said of them, in sentences."""
        lines = []
        if self.seen:
            lines.append(
                f"{self.seen:,} of {self.seen + len(self.new):,} images were learned from in "
                "training and are left out."
            )
        if self.similar:
            more = f" and {len(self.similar) - 1:,} more" if len(self.similar) > 1 else ""
            lines.append(
                f"{self.similar[0]}{more} look like training images that were resized or saved "
                "again; they count here as new."
            )
        return lines


@dataclass(frozen=True)
class ImagePrint:
    """What an image is known by: a digest of its pixels, and 64 grey values."""

    digest: str
    grey: tuple[int, ...]


def store_seen(run: Path, examples: Sequence[Example]) -> None:
    """Write what a run learns from into its folder, once."""
    path = run / FILE
    if examples and not path.exists():
        prints = print_all(examples)
        value = {
            "digests": [found.digest for found in prints],
            "thumbnails": [bytes(found.grey).hex() for found in prints],
        }
        write_sealed(path, value)


def print_all(examples: Sequence[Example]) -> list[ImagePrint]:
    """Return the print of each image, those of files remembered while they do not change."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(_print_of, (example.source for example in examples)))


def _print_of(source: Any) -> ImagePrint:
    if isinstance(source, Path):
        info = source.stat()
        return _print_of_file(source, info.st_size, info.st_mtime_ns)
    return _print(source)


@lru_cache(maxsize=200_000)
def _print_of_file(path: Path, size_bytes: int, changed_ns: int) -> ImagePrint:
    return _print(path)


def _print(source: Any) -> ImagePrint:
    try:
        image = open_image(source)
    except DataError as error:  # what decodes it for training or scoring says why
        return ImagePrint(hashlib.sha256(str(error).encode()).hexdigest()[:32], (0,) * SIDE**2)
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return ImagePrint(pixel_digest(image), tuple(grey.tobytes()))
