"""Size checks: whether a dataset on disk has as many images as its declaration says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fewtune.core.naming import counted
from fewtune.core.task import Task
from fewtune.data.findings import Finding
from fewtune.datasets.vtab_subset import TRAIN, VAL

# Train and val of VTAB-1k, in one list or in two.
VTAB_SIZES = ((TRAIN + VAL, 0), (TRAIN, VAL))


def size_findings(task: Task, sizes: Mapping[str, int]) -> Iterator[Finding]:
    """Yield a finding for each split that is larger or smaller than declared.

    Args:
        task: The dataset as it was read: its whole splits, or VTAB-1k's training images.
    """
    found = {split: len(examples) for split, examples in task.splits().items()}
    drawn = (found["train"], found["val"]) in VTAB_SIZES
    for split, expected in sizes.items():
        number = found[split]
        if number == expected or (drawn and split != "test"):
            continue
        said = f"{counted(number, f'{split} image')}, where the dataset has {expected:,}"
        if number == 0 and split == "val":
            yield Finding("info", "no-validation", "this form has no validation images")
        elif abs(number - expected) == 1:
            yield Finding("info", "size", f"{said}: versions of it differ by one")
        elif number < expected:
            hint = "Files are missing: download or unpack it again."
            yield Finding("error", "size", said, hint=hint)
        else:
            hint = "Are there files of another dataset or version among them?"
            yield Finding("warning", "size", said, hint=hint)
