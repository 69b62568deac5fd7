"""Splits of VTAB: slices of the order in which TensorFlow Datasets stores the images.

VTAB cuts its splits and the 800 + 200 images of VTAB-1k out of TFDS's splits by position. TFDS
stores the examples of a split sorted by the MD5 of the split's name and the example's key, and the
key is a file name or an index in the original files. So positions, and with them the official
images, follow from the original files alone. Checked against TFDS 4.9 and against the first ids of
CIFAR-10 that TFDS is known to give (train_16399, train_01680, train_47917, ..).

Webdataset shards and some archives do not keep that order. There, the training images of VTAB-1k
are a stratified draw of our own, which depends on nothing but the rows' keys.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from fewtune.core.task import draw_order
from fewtune.data.file_names import SPLITS
from fewtune.data.label_table import LabelledRow
from fewtune.datasets.declaration import Dataset, Subset

TRAIN, VAL = 800, 200
OFFICIAL_NOTE = "official lists of VTAB-1k"
OWN_NOTE = (
    "own stratified draw of {train} + {val} training images; the official lists are not in this "
    "form"
)
_SLICE = re.compile(r"(\w+)(?:\[(?:(\d+)%)?:(?:(\d+)%)?\])?")


@dataclass(frozen=True)
class Slices:
    """VTAB's splits as slices of TFDS's: "train", "train[:90%]" (rounded down), "test[50%:]"."""

    train: str = "train"
    val: str = "validation"
    test: str = "test"

    def parts(self, subset: Subset) -> tuple[SlicePart, ...]:
        """Return what a subset takes from which slice.

        Raises:
            ValueError: A declaration is wrong.
        """
        parts = []
        for split, limit in (("train", TRAIN), ("val", VAL), ("test", None)):
            expression = getattr(self, split)
            parsed = _SLICE.fullmatch(expression)
            if parsed is None:
                raise ValueError(f"{expression!r} is no slice")
            into = "train" if subset == "1000" and split == "val" else split
            first, last = int(parsed[2] or 0), int(parsed[3] or 100)
            taken = None if subset == "full" else limit
            parts.append(SlicePart(split, into, parsed[1], first, last, taken))
        return tuple(parts)


PLAIN = Slices()


@dataclass(frozen=True)
class SlicePart:
    """The beginning of a slice.

    Attributes:
        last: Where the slice ends, in percent of the split.
    """

    split: str
    into: str
    stored: str
    first: int
    last: int
    limit: int | None

    def positions(self, count: int) -> range:
        """Return the positions of the whole slice in a split of `count` images."""
        return range(count * self.first // 100, count * self.last // 100)

    def taken(self, count: int) -> range:
        """Return the positions of the images that are taken."""
        return self.positions(count)[: self.limit]


def choose(
    keys: Mapping[str, Collection[str]], slices: Slices, subset: Subset
) -> list[tuple[str, str, str]]:
    """Return (split, TFDS's split, key) of each image of a subset.

    Args:
        keys: TFDS's keys of all images, by TFDS's split.
    """
    ordered = {split: tfds_order(of_split, split) for split, of_split in keys.items()}
    return [
        (part.into, part.stored, ordered[part.stored][position])
        for part in slices.parts(subset)
        for position in part.taken(len(ordered[part.stored]))
    ]


def tfds_order(keys: Collection[str], split: str) -> list[str]:
    """Return the keys of a split in the order in which TFDS stores the examples."""
    salted = hashlib.md5(split.encode(), usedforsecurity=False)

    def rank(key: str) -> bytes:
        hashed = salted.copy()
        hashed.update(key.encode())
        return hashed.digest()

    return sorted(keys, key=rank)


def slice_notes(
    counts: Mapping[str, int],
    slices: Slices,
    dataset: Dataset,
    subset: Subset,
    *,
    complete: bool = False,
    doubt: str = "",
) -> list[str]:
    """Return whether the images are the official ones, and what is not as declared.

    Positions shift when an image is missing, so only a complete dataset has the official images.

    Args:
        complete: The dataset is known to be complete, whatever the declared sizes.
        doubt: Why not even the images of a complete dataset need be the official ones.
    """
    parts = slices.parts(subset)
    sizes = {part.split: len(part.positions(counts[part.stored])) for part in parts}
    short = any(len(part.taken(counts[part.stored])) < (part.limit or 0) for part in parts)
    wrong = [
        f"{sizes[split]:,} {split} images, where the dataset has {dataset.sizes[split]:,}"
        for split in SPLITS
        if not dataset.has_size(split, sizes[split])
    ]
    if subset == "full":
        return [doubt, *wrong] if doubt else wrong
    if doubt:
        return [f"VTAB-1k's slices, but not surely its images: {doubt}", *wrong]
    if short or (wrong and not complete):
        return ["not the official images of VTAB-1k: the dataset is not complete", *wrong]
    return [f"{OFFICIAL_NOTE}, by the order of TFDS", *wrong]


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
