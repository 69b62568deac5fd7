"""Coverage-guided fuzzing of the parsers of foreign files (`pip install atheris`).

    PYTHONPATH=tests:src python tests/fuzz.py FOLDER SECONDS [NAME...]

Each parser of `parsers.PARSERS`, or those named, is fuzzed for so long, from tests/corpus/NAME on.
FOLDER/NAME receives what reaches new code, FOLDER/crash-... what is a fault.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fewtune", "parsers"]):
    from parsers import CORPUS, PARSERS, parse


def fuzz(name: str, folder: Path, seconds: str) -> None:
    """Fuzz one parser; ends the process."""

    def once(data: bytes) -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
            (Path(scratch) / "in").mkdir()
            parse(name, data, Path(scratch) / "in")

    (folder / name).mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", "-timeout=25", "-rss_limit_mb=4096", "-max_len=20000"]
    found = [f"-artifact_prefix={folder}/crash-{name}-", str(folder / name), str(CORPUS / name)]
    atheris.Setup([name, *limits, *found], once)
    atheris.Fuzz()


def main() -> int:
    """Fuzz what the command line names, each in a process of its own."""
    folder, seconds, *names = sys.argv[1:]
    failed = []
    for name in names or PARSERS:
        child = os.fork()
        if not child:
            fuzz(name, Path(folder), seconds)
        failed += [name] if os.waitpid(child, 0)[1] else []
    sys.stdout.write(f"faults: {', '.join(failed) or 'none'}\n")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
