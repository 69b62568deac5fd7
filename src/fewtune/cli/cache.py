"""Show or empty the cache of encoded images.

Runs keep what the frozen layers compute, so that other runs need not compute it again. It is safe
to remove: what is missing is computed when it is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from fewtune.cli.support.console import Console, ago
from fewtune.cli.support.options import Group
from fewtune.cli.support.verb import Json, verb
from fewtune.core.errors import ConfigError
from fewtune.core.fields import Flag

if TYPE_CHECKING:
    from fewtune.training.disk_cache import CacheFile

DAY_S = 86_400

Cache = Annotated[
    Path | None,
    Flag("--cache", "DIR"),
    "folder that was given to runs as --cache",
]


def show(folder: Cache = None, machine: Json = False) -> None:
    """Show what is in the cache, least recently used first."""
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


def remove(
    older_than: Annotated[
        float | None,
        Flag(metavar="DAYS"),
        Field(ge=0),
        "remove what was not used for this many days",
    ] = None,
    everything: Annotated[bool, Flag("--all"), "remove all"] = False,
    folder: Cache = None,
    machine: Json = False,
) -> None:
    """Remove old entries, or all.

    Runs themselves keep the cache below 20 GiB.
    """
    from fewtune.training.disk_cache import activations_dir, prune

    if (older_than is None) == (not everything):
        raise ConfigError(
            "Say what to remove, in one way.",
            hint="Type --older-than DAYS, or --all.",
        )
    where = folder or activations_dir()
    unused_s = (older_than or 0) * DAY_S
    gone = prune(where, keep_bytes=0) if everything else prune(where, unused_s=unused_s)
    console = Console(machine=machine)
    if machine:
        console.json({"folder": str(where), "removed": [_as_json(entry) for entry in gone]})
    else:
        console.line(f"removed {_counted(gone)} from {where}")


def _counted(found: list[CacheFile]) -> str:
    number = f"{len(found):,} entr{'y' if len(found) == 1 else 'ies'}"
    return f"{number}, {_size(sum(entry.size_bytes for entry in found))}"


def _size(size_bytes: float) -> str:
    mib = size_bytes / 2**20
    return f"{mib:.1f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"


def _row(entry: CacheFile) -> list[str]:
    about = entry.about
    if not about:
        return ["(damaged)", entry.folder.name, "", _size(entry.size_bytes), ago(entry.used)]
    stage = "features" if about["stage"] == "end" else f"what enters {about['stage']}"
    view = about["augmentation"]
    of = f"{stage}, view {view['view']} of seed {view['seed']}" if view else stage
    return [about["backbone"], of, f"{about['images']:,}", _size(entry.size_bytes), ago(entry.used)]


def _as_json(entry: CacheFile) -> dict[str, Any]:
    return {
        "folder": str(entry.folder),
        "size_bytes": entry.size_bytes,
        "used": entry.used,
        "about": entry.about,
    }


command = Group("cache", help=__doc__, commands={"list": verb(show), "prune": verb(remove)})
