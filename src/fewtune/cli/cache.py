"""Show or empty the cache of encoded images.

Runs keep what frozen layers compute of images, so that no other run computes it again. `fewtune
cache list` shows it, `fewtune cache prune` removes what was not used for long. What is removed is
computed again when it is wanted.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewtune.cli.support.console import Console, duration
from fewtune.cli.support.options import Command, Group, Option, ValueType
from fewtune.core.errors import ConfigError

if TYPE_CHECKING:
    from fewtune.training.disk_cache import CacheFile

DAY_S = 86_400

WHERE = Option(
    ["folder", "--cache"],
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the cache, if other than the one that all runs share.",
)
JSON = Option(["machine", "--json"], is_flag=True, help="Print one JSON object on stdout.")


def show(folder: Path | None, machine: bool) -> None:
    """List the entries, least recently used first."""
    from fewtune.training.disk_cache import activations_dir, entries

    console = Console(machine=machine)
    where = folder or activations_dir()
    found = entries(where)
    if machine:
        console.json({"folder": str(where), "entries": [_as_json(entry) for entry in found]})
        return
    console.line(f"{where}: {_counted(found)}")
    if found:
        rows = [_row(entry) for entry in found]
        console.table(["backbone", "of", "images", "size", "last used"], rows, left=(0, 1))


def prune(folder: Path | None, older_than: float | None, everything: bool, machine: bool) -> None:
    """Remove entries and say how much that freed."""
    from fewtune.training.disk_cache import activations_dir, prune

    if (older_than is None) == (not everything):
        raise ConfigError(
            "Say what to remove, in one way.",
            hint="Type --older-than DAYS, or --all.",
        )
    where = folder or activations_dir()
    gone = prune(where, keep_bytes=0) if everything else prune(where, unused_s=_days(older_than))
    console = Console(machine=machine)
    if machine:
        console.json({"folder": str(where), "removed": [_as_json(entry) for entry in gone]})
    else:
        console.line(f"removed {_counted(gone)} from {where}")


def _days(number: float | None) -> float:
    return (number or 0) * DAY_S


def _counted(found: list[CacheFile]) -> str:
    number = f"{len(found):,} entr{'y' if len(found) == 1 else 'ies'}"
    return f"{number}, {_size(sum(entry.size_bytes for entry in found))}"


def _size(size_bytes: float) -> str:
    mib = size_bytes / 2**20
    return f"{mib:.1f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"


def _row(entry: CacheFile) -> list[str]:
    about = entry.about
    if not about:
        return ["(damaged)", entry.folder.name, "", _size(entry.size_bytes), _ago(entry)]
    stage = "features" if about["stage"] == "end" else f"what enters {about['stage']}"
    view = about["augmentation"]
    of = f"{stage}, view {view['view']} of seed {view['seed']}" if view else stage
    return [about["backbone"], of, f"{about['images']:,}", _size(entry.size_bytes), _ago(entry)]


def _ago(entry: CacheFile) -> str:
    return f"{duration(max(0.0, time.time() - entry.used))} ago"


def _as_json(entry: CacheFile) -> dict[str, Any]:
    return {
        "folder": str(entry.folder),
        "size_bytes": entry.size_bytes,
        "used": entry.used,
        "about": entry.about,
    }


command = Group(
    "cache",
    help=__doc__,
    commands={
        "list": Command(
            "list",
            callback=show,
            short_help="Show what is kept, and its size.",
            help="Show what is kept, least recently used first.",
            params=[WHERE, JSON],
        ),
        "prune": Command(
            "prune",
            callback=prune,
            short_help="Remove what was not used for long, or all.",
            help="Remove what was not used for long, or all. Beyond 20 GiB, runs do so themselves.",
            params=[
                Option(
                    ["--older-than"],
                    type=ValueType(float, ge=0),
                    metavar="DAYS",
                    help="Remove what was not used for this number of days.",
                ),
                Option(["everything", "--all"], is_flag=True, help="Remove all."),
                WHERE,
                JSON,
            ],
        ),
    },
)
