"""Training subsets of VTAB-1k: 1,000 images, drawn here where the official lists are missing.

The official 1,000 are the first images in the order of TFDS (`fewtune.datasets.vtab_slices`), which
webdataset shards and some archives do not keep. The draw here is stratified and depends on nothing
but the rows' keys.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from fewtune.core.task import draw_order
from fewtune.data.label_table import LabelledRow
from fewtune.datasets.declaration import Subset

TRAIN, VAL = 800, 200
OFFICIAL_NOTE = "official lists of VTAB-1k"
OWN_NOTE = (
    "own stratified draw of {train} + {val} training images; the official lists are not in this "
    "form"
)


def take_subset(
    rows: Sequence[LabelledRow], subset: Subset
) -> tuple[tuple[LabelledRow, ...], tuple[str, ...]]:
    """Return the rows of a subset of the whole splits, and what to say of it.

    "1000" are the images of "800", train and val, as training images. Validation images come from
    the validation split where there is one, else from the training images. The test split is
    untouched.
    """
    if subset == "full":
        return tuple(rows), ()
    train = own_draw([row for row in rows if row.split == "train"], "train")
    val = own_draw([row for row in rows if row.split == "val"], "val")
    test = (row for row in rows if row.split == "test")
    if not val:
        # A set with fewer than 1,000 images is divided in the same ratio.
        kept = min(TRAIN, round(len(train) * TRAIN / (TRAIN + VAL)))
        train, val = train[:kept], train[kept:]
    train, val = train[:TRAIN], val[:VAL]
    note = OWN_NOTE.format(train=len(train), val=len(val))
    if subset == "1000":
        train, val = [*train, *(replace(row, split="train") for row in val)], []
    else:
        val = [replace(row, split="val") for row in val]
    return (*train, *val, *test), (note,)


def own_draw(rows: Sequence[LabelledRow], split: str) -> list[LabelledRow]:
    """Return the rows in an order whose every beginning is stratified.

    The first n rows hold each class in proportion to its size, and one of every class if n allows.
    """
    sizes = Counter(row.class_name for row in rows)
    rank: dict[str, int] = defaultdict(int)
    placed = []
    for position, row in enumerate(draw_order(rows, 0, f"subset/{split}")):
        placed.append((rank[row.class_name] / sizes[row.class_name], position, row))
        rank[row.class_name] += 1
    return [row for _, _, row in sorted(placed, key=lambda entry: entry[:2])]
