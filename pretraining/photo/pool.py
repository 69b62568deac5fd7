"""The pool: every photograph that is trained on, in one fixed order.

Evaluation sets are not in it. The full clothing set contains the photos of the small one, which is
evaluated on, so those are left out by file name.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SEED = 0


@dataclass(frozen=True)
class Pool:
    """A public repository's photographs.

    Attributes:
        pattern: Glob below the repository's folder.
        views: Cached views of each photo: the first is the plain one, the others are random crops.
        limit: Photos used, 0 for all.
    """

    name: str
    pattern: str
    views: int
    limit: int = 0


POOLS = (
    Pool("tiny-imagenet", "tiny-imagenet-200/train/*/images/*.JPEG", 1, 50_000),
    Pool("imagenette", "train/*/*.JPEG", 2),
    Pool("cifar-10", "train/*/*.jpg", 1, 12_000),
    Pool("cats-and-dogs", "dataset/**/*.jpg", 2),
    Pool("clothing", "images/*.jpg", 3),
    Pool("captioned", "images/*.jpg", 3),
    Pool("camvid", "CamVid/[!.]*/*.png", 2),
    Pool("bsds500", "BSDS500/data/images/*/*.jpg", 3),
)
KEPT_OUT = ("clothing-small", "**/*.jpg")


@dataclass(frozen=True)
class View:
    """One picture to be cached: a photo and the number of its view."""

    pool: str
    path: Path
    number: int


def photos(folder: Path, pool: Pool) -> list[Path]:
    """Return the photos of a pool below `folder`, sorted, or a seeded draw of `limit` of them."""
    found = sorted((folder / pool.name).glob(pool.pattern))
    found = [path for path in found if not path.parent.name.endswith("annot")]
    if pool.name == "clothing":
        small, pattern = KEPT_OUT
        kept_out = {path.name for path in (folder / small).glob(pattern)}
        found = [path for path in found if path.name not in kept_out]
    if pool.limit and len(found) > pool.limit:
        found = sorted(random.Random(SEED).sample(found, pool.limit))
    return found


def views(folder: Path) -> list[View]:
    """Return all views in a seeded order, so that any beginning is a sample of the whole."""
    listed = list(_listed(folder))
    random.Random(SEED).shuffle(listed)
    return listed


def development(folder: Path, count: int) -> list[View]:
    """Return plain views of validation photos, which nothing is trained on: 7 of 10 are 64 px."""
    draw = random.Random(SEED)
    tiny = sorted((folder / "tiny-imagenet" / "tiny-imagenet-200" / "val" / "images").iterdir())
    large = sorted((folder / "imagenette" / "val").glob("*/*.JPEG"))
    small = count * 7 // 10
    paths = [*draw.sample(tiny, small), *draw.sample(large, count - small)]
    return [View("development", path, 0) for path in paths]


def _listed(folder: Path) -> Iterator[View]:
    for pool in POOLS:
        for path in photos(folder, pool):
            for number in range(pool.views):
                yield View(pool.name, path, number)
