"""`python -m benchmarks NAME [--only TEXT] [--quick]`: measure one table and write its file.

Without a name, the tables are listed. `profile` draws where a step's time goes. Let nothing else
run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import torch

from benchmarks import profile, result, tables
from benchmarks.harness import Settings
from benchmarks.result import Row
from fewtune.training.device import choose_precision


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=[*tables.names(), "profile"])
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="[bf16 where the CPU has it]")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    precision = asked.precision or choose_precision(torch.device("cpu"))
    repeats, warmup = (1, 0) if asked.quick else (asked.repeats, 1)
    settings = Settings(asked.quick, precision, asked.threads, repeats, warmup)
    if asked.name is None:
        for name in tables.names():
            print(f"{name:<12} {tables.load(name).TITLE}")
    elif asked.name == "profile":
        profile.draw(settings)
    else:
        measure(asked.name, asked.only, settings)


def measure(name: str, only: str, settings: Settings) -> None:
    """Measure the cases of a table, writing each as it is done."""
    table = tables.load(name)
    folder = Path(tempfile.mkdtemp()) if settings.quick else result.RESULTS
    for case, run in table.cases(settings).items():
        if only in case:
            rows = run()
            result.write(name, table.TITLE, rows, settings, folder)
            for row in rows:
                print(describe(row), flush=True)
    print(folder / f"{name}.json")


def describe(row: Row) -> str:
    """Return one line."""
    theirs = "" if row.theirs is None else f" against {row.theirs:.3g}"
    ratio = "" if row.ratio is None else f", ratio {row.ratio:.3g}"
    bar = "" if row.bar is None else f" ({row.sense} {row.bar:g})"
    words = f"{row.what}, {row.against}: {row.ours:.3g}{theirs} {row.unit}{ratio}{bar}"
    return f"{words}  {row.note}".rstrip()


if __name__ == "__main__":
    main()
