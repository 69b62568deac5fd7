"""Scores that papers publish, to stand beside ours, marked as published.

A file a source in `assets/published`. Scores that were read off a figure are bands, never digits.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "assets" / "published"


@dataclass(frozen=True)
class Score:
    """A published top-1.

    Attributes:
        top1: In [0, 1].
        digitised: Half the width of its band, where it was read off a figure; 0 for a number.
        tolerance: How far a faithful run may be from it.
        source: Where it stands.
    """

    top1: float
    digitised: float
    tolerance: float
    source: str

    def text(self) -> str:
        """Return "70.4", or "70.5 to 71.1" for a band."""
        if not self.digitised:
            return f"{100 * self.top1:.1f}"
        low, high = (100 * (self.top1 + sign * self.digitised) for sign in (-1, 1))
        return f"{low:.1f} to {high:.1f}"

    def agrees(self, top1: float) -> bool:
        """Return whether a score is as near as a faithful run's would be."""
        return abs(top1 - self.top1) <= self.tolerance + self.digitised + 1e-9


Key = tuple[str, str, str, int | None]


@cache
def scores() -> Mapping[Key, Score]:
    """Return all published scores, by strategy, backbone, task and shots (None for zero-shot)."""
    found: dict[Key, Score] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        file = tomllib.loads(path.read_text(encoding="utf-8"))
        for row in file["row"]:
            for task, top1 in zip(file["tasks"], row["top1"], strict=True):
                key = (row["strategy"], file["backbone"], task, row.get("shots"))
                found[key] = Score(
                    top1 / 100, file["digitised"] / 100, file["tolerance"] / 100, file["source"]
                )
    return found
