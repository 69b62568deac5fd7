"""FewTune's own folders: runs, caches, reports, exports and figures, recognised by their files.

They appear next to the class folders when FewTune is run in the folder of the images.
"""

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fewtune.core.files import load_json
from fewtune.core.paths import cache_dir

_FACTS = re.compile(r"[0-9a-f]{64}\.jsonl")
_ENTRY = re.compile(r"[0-9a-f]{32}")
_HEAD_BYTES = 4096
_DEPTH = 2  # of a folder of runs, and of a cache


def is_run_or_cache(folder: Path, names: Collection[str]) -> bool:
    """Return whether a folder is a run or FewTune's cache, whose pictures are not examples.

    Args:
        names: Names of the folder's visible entries.
    """
    if "spec.json" in names and "task.json" in names:
        return {"format", "strategy", "data"} <= _keys(folder / "spec.json")
    if "failure.json" in names:
        return not {"spec", "case"}.isdisjoint(_keys(folder / "failure.json"))
    return _is_cache(folder, names)


def is_written_by_fewtune(folder: Path, depth: int = _DEPTH) -> bool:
    """Return whether a folder holds runs, a cache, a report, an export or figures."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        names = {entry.name for entry in entries}
        inner = [Path(entry.path) for entry in entries if entry.is_dir()] if depth else []
    except OSError:
        return False
    return (
        is_run_or_cache(folder, names)
        or _is_result(folder, names)
        or any(is_written_by_fewtune(one, depth - 1) for one in inner)
    )


def _is_result(folder: Path, names: Collection[str]) -> bool:
    """Return whether a folder is a cache entry, a report, an export, or a folder of figures."""
    if "activations.safetensors" in names:
        return _ENTRY.fullmatch(folder.name) is not None
    if {"index.html", "report.md", "runs.csv"} <= set(names):
        return True
    if {"classes.json", "classes.safetensors"} <= set(names):
        return {"names", "templates", "prompts"} <= _keys(folder / "classes.json")
    return any(_is_figure(folder / name) for name in names if name.endswith(".svg"))


def _is_cache(folder: Path, names: Collection[str]) -> bool:
    if "verify" not in names and "activations" not in names:
        return False
    if folder.resolve() == cache_dir().resolve():
        return True
    try:
        return any(_FACTS.fullmatch(name) for name in os.listdir(folder / "verify"))
    except OSError:
        return False


def _keys(path: Path) -> set[str]:
    """Return the keys of the JSON object in a file; none if it holds something else."""
    try:
        value: Any = load_json(path) if path.is_file() else None
    except (OSError, ValueError):
        return set()
    return set(value) if isinstance(value, dict) else set()


def _is_figure(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b'class="alone"' in file.read(_HEAD_BYTES)
    except OSError:
        return False
