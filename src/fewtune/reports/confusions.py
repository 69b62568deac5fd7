"""Confusions: how many images of each class are taken for which class, and the matrix drawn of it.

Counts of one run, or means over the runs of several seeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fewtune.reports.figures import GRID
from fewtune.reports.summary import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ANNOTATED_CLASSES = 12
NAME_CHARACTERS = 18


@dataclass(frozen=True)
class Confusions:
    """What the test images of each class are taken for.

    Attributes:
        images: Mean number over runs of images of one class (label) that are taken for another, or
            for itself, by the two labels; pairs that never occur are missing.
        totals: Test images of each class.
    """

    images: Mapping[tuple[int, int], float]
    totals: Mapping[int, int]

    @classmethod
    def of(cls, runs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> Confusions:
        """Count the labels and predictions, (N,) each, of at least one run on the same images."""
        every = list(runs)
        pairs = Counter(pair for run in every for pair in zip(*run, strict=True))
        images = {pair: count / len(every) for pair, count in sorted(pairs.items())}
        return cls(images, Counter(every[0][0]))

    def share(self, label: int, taken: int) -> float:
        """Return the share of a class' images, in [0, 1]; 0 for a class without images."""
        return self.images.get((label, taken), 0.0) / max(1, self.totals.get(label, 0))

    def wrong(self) -> list[tuple[int, int]]:
        """Return which classes were taken for which others, the most frequent pair first."""
        pairs = [pair for pair in self.images if pair[0] != pair[1]]
        return sorted(pairs, key=lambda pair: (-self.images[pair], -self.share(*pair), *pair))

    def matrix(self, classes: int) -> NDArray[np.float64]:
        """Return shares in percent, (C, C): rows are classes; NaN for one without images."""
        every = range(classes)
        return np.array(
            [
                [100 * self.share(a, b) if self.totals.get(a) else np.nan for b in every]
                for a in every
            ]
        )


def draw_matrix(
    axis: Axes, names: Sequence[str], confusions: Confusions, *, named_rows: bool = True
) -> Any:
    """Draw a row for each class and a column for each prediction, and return the coloured mesh.

    Few classes have their shares written in the cells; more of them need a colour bar.

    Args:
        named_rows: Whether the names stand next to the rows too.
    """
    from matplotlib import colormaps

    count = len(names)
    percents = confusions.matrix(count)
    edges = np.arange(count + 1) - 0.5
    colours = colormaps["Blues"].with_extremes(bad=GRID)
    mesh = axis.pcolormesh(
        edges, edges, percents, cmap=colours, vmin=0, vmax=100, edgecolors="white", linewidth=0.8
    )
    axis.set_aspect("equal")
    axis.invert_yaxis()
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    ticks = [shorten(name, NAME_CHARACTERS) for name in names]
    axis.set_yticks(range(count), ticks if named_rows else [""] * count)
    turned = 0 if count <= 3 else 45 if count <= ANNOTATED_CLASSES else 90
    align: dict[str, Any] = {"ha": "right", "rotation_mode": "anchor"} if turned == 45 else {}
    axis.set_xticks(range(count), ticks, rotation=turned, **align)
    if count <= ANNOTATED_CLASSES:
        for (row, column), share in np.ndenumerate(percents):
            if share > 0:
                ink = "white" if share > 55 else "black"
                axis.text(column, row, f"{share:.0f}", ha="center", va="center", size=8, color=ink)
    return mesh
