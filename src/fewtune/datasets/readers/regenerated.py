"""dSprites without a download: images that are drawn when they are read.

Splits have the sizes of VTAB's (80, 10 and 10 %) but are a draw of their own, which takes no time:
VTAB's, by the order of TFDS (`fewtune.datasets.vtab_slices`), are read from the authors' file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fewtune.data.label_table import LabelledRow, LabelTable
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.vtab_labels import DSPRITES
from fewtune.datasets.vtab_subset import take_subset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NOTE = (
    "regenerated: images are drawn from their factors, splits are an own draw of VTAB's sizes; not "
    "the original files"
)
TEST = VAL = 73_728
# VTAB-1k's images are drawn from a random sample of this size: sorting all 589,824 by hash would
# take seconds.
POOL = 20_000


@dataclass(frozen=True)
class Sprite:
    """An image of dSprites, drawn when it is read."""

    index: int

    def read(self) -> NDArray[np.uint8]:
        """Return the image: (64, 64) of uint8, 0 and 255."""
        from fewtune.datasets.dsprites import draw

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
        from fewtune.datasets.dsprites import own_order

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
        import numpy as np

        from fewtune.datasets.dsprites import SIZES

        factor, rule = DSPRITES[self.factor]
        values = np.unravel_index(indices, SIZES)[factor].tolist()
        for index, value in zip(indices.tolist(), values, strict=True):
            yield LabelledRow(split, f"{index:06d}", dataset.classes[rule(value)], Sprite(index))
