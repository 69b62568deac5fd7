"""How long the command line takes before it does anything."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

from benchmarks.harness import Settings
from benchmarks.result import Row
from benchmarks.tables import Cases

TITLE = "Start-up"


def cases(settings: Settings) -> Cases:
    """Return the command and the import."""
    commands = {
        "fewtune --help": ([sys.executable, "-m", "fewtune", "--help"], 0.4),
        "import fewtune": ([sys.executable, "-c", "import fewtune"], 0.3),
    }
    return {
        name: partial(_rows, name, command, bar, settings)
        for name, (command, bar) in commands.items()
    }


def _rows(name: str, command: Sequence[str], bar_s: float, settings: Settings) -> list[Row]:
    turns = settings.warmup + settings.repeats
    median_s = statistics.median([_time(command) for _ in range(turns)][settings.warmup :])
    return [
        Row(name, "the aim alone", median_s, None, "s", None, bar_s, "at most", settings.repeats)
    ]


def _time(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
