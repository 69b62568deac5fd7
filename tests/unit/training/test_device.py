"""How much memory may be taken."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fewtune.training.device import _left_in_group_mib, free_memory_mib

MIB = 2**20


@pytest.mark.parametrize(
    ("folder", "limit", "used"),
    [
        ("", "memory.max", "memory.current"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_a_container_leaves_its_limit_less_what_cannot_be_reclaimed(
    tmp_path: Path, folder: str, limit: str, used: str
) -> None:
    group = tmp_path / folder
    group.mkdir(exist_ok=True)
    (group / limit).write_text(f"{100 * MIB}\n")
    (group / used).write_text(f"{70 * MIB}\n")
    (group / "memory.stat").write_text(f"anon 1\ninactive_file {20 * MIB}\nactive_file 3\n")
    assert _left_in_group_mib(tmp_path) == 50
    (group / limit).write_text("max\n")
    assert _left_in_group_mib(tmp_path) == math.inf
    assert _left_in_group_mib(tmp_path / "none") == math.inf


def test_some_memory_is_free() -> None:
    assert 16 < free_memory_mib() < 2**24
