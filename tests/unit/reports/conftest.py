"""A folder for the runs of a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies import Writer


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "runs")


@pytest.fixture
def runs(write: Writer) -> Path:
    """Two tasks; a linear probe with two seeds, CLIP-Adapter on one task alone."""
    for task, zero in (("flowers", 0.5), ("spheres", 0.1)):
        write.run("zero-shot", task, zero)
        for seed, top1 in ((1, zero + 0.1), (2, zero + 0.3)):
            write.run("linear-probe", task, top1, seed=seed)
    for shots, top1 in ((4, 0.9), (1, 0.6)):
        write.run("clip-adapter", "flowers", top1, shots=shots)
    return write.folder
