"""dSprites without a download: 737,280 white shapes on black, 64 px a side, drawn from factors.

The factors and their order are published, the images are a download of their own, and the program
that drew them is not public. Its author says that it drew vectors with LOVE (squares, ellipses, and
a heart as a mesh) on a canvas whose positions run from 0 to 1. What is missing from that
description is measured here on the 320 images of the animation that the authors publish next to the
data: where position 0 and 1 lie (16 and 48 pixels, so that no sprite leaves the frame), which way
orientation turns (against the clock as one looks at it), and the size of each shape; a square has
0.3 of the canvas a side. The heart has no known formula: its outline is a polar curve through 43
measured points, mirrored. A pixel is white when its centre lies inside the shape.

The animation shows 258 different images. Drawn this way, 241 of them are equal to the last pixel
and 17 differ in two pixels. No other image of the original was compared, and heart and ellipse were
fitted to these.

Splits have the sizes of VTAB's (80, 10 and 10 %) but are a draw of their own, which takes no time:
VTAB's, by the order of TFDS (`fewtune.datasets.vtab_slices`), are read from the authors' file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewtune.data.label_table import LabelledRow, LabelTable
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.vtab_labels import DSPRITES
from fewtune.datasets.vtab_slices import take_subset

NOTE = (
    "regenerated: images are drawn from their factors, splits are an own draw of VTAB's sizes; not "
    "the original files"
)
TEST = VAL = 73_728
# VTAB-1k's images are drawn from a random sample of this size: sorting all 589,824 by hash would
# take seconds.
POOL = 20_000

SHAPES = ("square", "ellipse", "heart")
SCALES = np.linspace(0.5, 1, 6)
ORIENTATIONS_RAD = np.linspace(0, 2 * np.pi, 40)
POSITIONS = np.linspace(0, 1, 32)
SIZES = (len(SHAPES), len(SCALES), len(ORIENTATIONS_RAD), len(POSITIONS), len(POSITIONS))
COUNT = 737_280
SIDE_PX = 64

# Lengths at scale 1.
MARGIN_PX, SPAN_PX = 16.0, 32.0
SQUARE_HALF_PX = 9.5995
ELLIPSE_PX = (12.77, 7.213)
# From the notch (-90 degrees, up) to the tip (90 degrees, down).
HEART_DEGREES = np.array(
    "-90 -88 -86 -84 -81 -78 -74 -70 -65 -60 -55 -50 -45 -40 -35 -30 -25 -20 -15 -10 -5 0 5 10 15 "
    "20 25 30 35 40 45 50 55 60 65 70 75 79 82 84 86 88 90".split(),
    dtype=float,
)
HEART_PX = np.array(
    "5.07 5.71 6.34 6.96 7.65 8.32 9.06 9.71 10.29 10.73 11.02 11.18 11.29 11.23 11.11 "
    "10.89 10.58 10.18 9.71 9.18 8.65 8.13 7.64 7.23 6.88 6.58 6.34 6.17 6.03 5.94 5.92 "
    "5.91 5.96 6.08 6.25 6.50 6.84 7.24 7.61 7.92 8.28 8.78 9.67".split(),
    dtype=float,
)


class Factors(NamedTuple):
    """What an image shows, each as an index into the published values."""

    shape: int
    scale: int
    orientation: int
    x: int
    y: int


def factors(index: int) -> Factors:
    """Return the factors of an image of the original, whose last factor varies first.

    Raises:
        ValueError: `index` is not in 0..737279.
    """
    return Factors(*(int(value) for value in np.unravel_index(index, SIZES)))


def draw(index: int) -> NDArray[np.uint8]:
    """Return the image of an index: (64, 64) of uint8, 0 and 1.

    Raises:
        ValueError: `index` is not in 0..737279.
    """
    shape, scale, orientation, x, y = factors(index)
    centres = np.arange(SIDE_PX) + 0.5
    right = (centres - MARGIN_PX - SPAN_PX * POSITIONS[x])[None, :] / SCALES[scale]
    down = (centres - MARGIN_PX - SPAN_PX * POSITIONS[y])[:, None] / SCALES[scale]
    cosine = np.cos(ORIENTATIONS_RAD[orientation])
    sine = np.sin(ORIENTATIONS_RAD[orientation])
    # Turn the pixels with the clock instead of the shape against it.
    across, along = cosine * right - sine * down, sine * right + cosine * down
    inside: NDArray[np.bool_] = _INSIDE[shape](across, along)
    return inside.astype(np.uint8)


def own_order() -> NDArray[np.intp]:
    """Return all indices, (737280,), in a fixed pseudo-random order, the same on every machine.

    They are sorted by SplitMix64 (Steele, Lea and Flood 2014), which maps no two to one value.
    """
    indices = np.arange(COUNT, dtype=np.uint64)
    z = (indices + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(z ^ (z >> np.uint64(31)))


Grid = NDArray[np.float64]


def _in_square(across: Grid, along: Grid) -> NDArray[np.bool_]:
    return np.maximum(np.abs(across), np.abs(along)) < SQUARE_HALF_PX


def _in_ellipse(across: Grid, along: Grid) -> NDArray[np.bool_]:
    half_width, half_height = ELLIPSE_PX
    inside: NDArray[np.bool_] = (across / half_width) ** 2 + (along / half_height) ** 2 < 1
    return inside


def _in_heart(across: Grid, along: Grid) -> NDArray[np.bool_]:
    degrees = np.degrees(np.arctan2(along, np.abs(across)))
    inside: NDArray[np.bool_] = np.hypot(across, along) < np.interp(
        degrees, HEART_DEGREES, HEART_PX
    )
    return inside


_INSIDE = (_in_square, _in_ellipse, _in_heart)


@dataclass(frozen=True)
class Sprite:
    """An image of dSprites, drawn when it is read."""

    index: int

    def read(self) -> NDArray[np.uint8]:
        """Return the image: (64, 64) of uint8, 0 and 255."""
        return draw(self.index) * 255

    def stamp(self) -> tuple[str | int, ...]:
        """Return what names the image; the version is raised when images are drawn otherwise."""
        return "regenerated dSprites", 1, self.index

    def __str__(self) -> str:
        return f"dSprites {self.index}"


@dataclass(frozen=True)
class RegeneratedDSprites:
    """Reads dSprites from nothing; labels are the x position or the orientation."""

    factor: Literal["location", "orientation"]
    layout = "regenerated dSprites"

    def find(self, root: Path) -> Path | None:
        """Return `root`: there is nothing to be found."""
        return root

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the rows; a key is the image's index in the original file."""
        order = own_order()
        test, val, train = order[:TEST], order[TEST : TEST + VAL], order[TEST + VAL :]
        if subset != "full":
            train, val = train[:POOL], val[:POOL]
        rows = [
            *self._rows("train", train, dataset),
            *self._rows("val", val, dataset),
            *self._rows("test", test, dataset),
        ]
        taken, notes = take_subset(rows, subset)
        return LabelTable(self.layout, taken, dataset.classes, (NOTE, *notes))

    def _rows(
        self, split: str, indices: NDArray[np.intp], dataset: Dataset
    ) -> Iterator[LabelledRow]:
        factor, rule = DSPRITES[self.factor]
        values = np.unravel_index(indices, SIZES)[factor].tolist()
        for index, value in zip(indices.tolist(), values, strict=True):
            yield LabelledRow(split, f"{index:06d}", dataset.classes[rule(value)], Sprite(index))
