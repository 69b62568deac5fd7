"""Packed records: those of a study in one file, small enough to be published with its tables."""

import io
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fewtune.core.errors import RunError
from fewtune.core.files import write_atomic
from fewtune.datasets.download.archive import unpack
from fewtune.reports import protocol_tables
from fewtune.sweeps import retention, transfer_scores

SUFFIX = ".tar.xz"  # thousands of small files that are alike: a tenth of a zip file
KEPT = ("spec.json", "record.json", retention.RETENTION, transfer_scores.FILE)


def pack(places: Sequence[Path], target: Path) -> None:
    """Write what tables are made of into an archive: no weights, predictions or logs.

    Equal runs give equal bytes.

    Args:
        places: Folders of runs, at any depth.

    Raises:
        RunError: `target` cannot be written.
    """
    found: dict[str, Path] = {}
    for number, place in enumerate(places):
        below = f"{number}/" if len(places) > 1 else ""
        runs = (spec.parent for spec in place.rglob("spec.json"))
        of_runs = (run / name for run in runs if (run / "record.json").exists() for name in KEPT)
        files = (*of_runs, *place.rglob(protocol_tables.FILE))
        found |= {below + f.relative_to(place).as_posix(): f for f in files if f.exists()}

    def write(temporary: Path) -> None:
        with tarfile.open(temporary, "w:xz") as archive:
            for name, file in sorted(found.items()):
                content = file.read_bytes()
                member = tarfile.TarInfo(name)  # without date and owner
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    write_atomic(target, write)


def is_packed(place: Path) -> bool:
    """Whether a place is a file of packed records, by its name."""
    return place.name.endswith(SUFFIX) and place.is_file()


@contextmanager
def opened(places: Sequence[Path]) -> Iterator[list[Path]]:
    """Give the folders of runs among `places`, with those in archives unpacked for the while.

    Raises:
        DataError: An archive is damaged.
        RunError: An archive holds no records.
    """
    with ExitStack() as stack:
        folders = []
        for place in places:
            if is_packed(place):
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                unpack(place, scratch / "runs", scratch / "work")
                if not any(scratch.rglob("record.json")):
                    raise RunError(
                        f"{place} holds no records.", hint="`fewtune report RUNS --records` packs."
                    )
                folders.append(scratch / "runs")
            else:
                folders.append(place)
        yield folders
