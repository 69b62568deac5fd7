"""Folder names: where a dataset may lie below the root that a user gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

GROUPS = ("", "few-shot", "domain-generalization", "data")


def find_folder(root: Path, folders: Sequence[str], *needed: str) -> Path | None:
    """Return the first folder of one of these names that holds all that is needed, as patterns.

    It may stand in the root, in a folder for its group, or be the root itself.
    """
    places = [root / group / folder for group in GROUPS for folder in folders]
    for place in (*places, root):
        # os.path, since a place that may not be entered holds nothing for us.
        if os.path.isdir(place) and all(any(place.glob(name)) for name in needed):
            return place
    return None
