"""Kills at random moments: what is left is whole, and the next run ends in the same bytes.

    PYTHONPATH=tests:src python tests/slow/kills.py --kills 200
    PYTHONPATH=tests:src python tests/slow/kills.py --kills 200 --full-disk

Each act runs in a child of a server that has imported everything, so a kill costs no start-up. Half
of the children die after a random time, the others at a random call that opens, moves or removes a
file, one to five in a row. Then the act runs again, undisturbed. What it leaves must equal what one
undisturbed act leaves: the same files, no others, the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acts import ACTS, Act
from safetensors.numpy import load_file

from fewtune.cli.main import EXIT_ERROR
from fewtune.core.errors import FewTuneError
from fewtune.training import disk_cache

CONTEXT: Any = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["kills", "matplotlib.pyplot", "fewtune.reports.study_report"])
FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime")
# Times and sizes of memory, and files that an unfinished act keeps.
VARIED = ("plan.json", "images.json", "backbone.json", ".lock")
GROWING = ("metrics.jsonl", "record.json", "README.md", "report.json", ".part")
ENTRY = re.compile(r"[0-9a-f]{32}")
TIMED = ("cost", "created", "environment", "plan")


def child(name: str, place: Path, log: Path, ends_at: int, bytes_left: int, prepare: bool) -> None:
    """Do an act; at a call that changes files die, or find the disk full.

    Args:
        ends_at: Number of the call; 0 for none. How many there were is written down.
        bytes_left: That a file may have from then on; -1 for death.
    """
    act = next(act for act in ACTS if act.name == name)
    os.chdir(place)
    quiet = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os.environ |= {"FEWTUNE_CACHE": str(place / "home"), "HF_HUB_OFFLINE": "1"}
    os.environ |= {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in FILE_EVENTS or not _changes(event, arguments):
            return
        if str(place) in os.path.abspath(os.fsdecode(arguments[0])):
            seen += 1
            if seen == ends_at and bytes_left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            elif seen == ends_at:
                resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, resource.RLIM_INFINITY))

    disk_cache.DiskCache.__init__.__kwdefaults__["least_s"] = math.inf  # but where it is the act
    sys.addaudithook(watch)
    try:
        act.prepare() if prepare else act.run()
    except FewTuneError as error:
        say(str(error))
        sys.exit(EXIT_ERROR)
    if not ends_at:
        log.with_suffix(".count").write_text(str(seen))


def _changes(event: str, arguments: tuple[Any, ...]) -> bool:
    if isinstance(arguments[0], int):
        return False
    return event != "open" or bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def start(
    act: Act, place: Path, ends_at: int = 0, bytes_left: int = -1, *, prepare: bool = False
) -> Any:
    log = place.with_name("log.txt") if bytes_left < 0 else Path(os.devnull)
    process = CONTEXT.Process(
        target=child, args=(act.name, place, log, ends_at, bytes_left, prepare)
    )
    process.start()
    return process


def undisturbed(act: Act, place: Path, *, prepare: bool = False) -> float:
    """Do an act and return how many seconds it took."""
    began = time.perf_counter()
    process = start(act, place, prepare=prepare)
    process.join(300)
    assert process.exitcode == 0, (act.name, place.with_name("log.txt").read_text()[-2000:])
    return time.perf_counter() - began


def contents(place: Path) -> dict[str, bytes]:
    """What is compared of each file: its bytes, or those that do not depend on the clock."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if ENTRY.fullmatch(path.parent.name):  # of a cache; its name depends on where images lie
            tensors = path.with_name(disk_cache.FILE)
            which = load_file(tensors)["x"].tobytes() if tensors.exists() else b"unfinished"
            found[f"{hashlib.sha256(which).hexdigest()} {path.name}"] = b""
            continue
        if path.is_dir() or name.startswith("home/verify/"):
            continue
        found[name] = b"" if path.name in VARIED else path.read_bytes()
        if path.name == "record.json":
            record = json.loads(found[name])
            kept = {k: v for k, v in record.items() if k not in (*TIMED, "sha256")}
            found[name] = json.dumps([kept, record["cost"]["steps"]]).encode()
        elif path.name == "README.md":  # the card: seconds and memory
            found[name] = b""
        elif path.name == "report.md" or name.startswith("out/"):
            found[name] = path.read_bytes()
    return found


def faults_of(whole: dict[str, bytes], place: Path, *, done: bool) -> list[str]:
    """Return what is wrong with the files in a folder.

    Args:
        done: Whether everything must be there, and nothing else.
    """
    found = contents(place)
    faults = [
        f"{name} differs"
        for name in found.keys() & whole.keys()
        if found[name] != whole[name] and (done or not name.endswith(GROWING))
    ]
    if done:
        faults += [f"{name} is left" for name in found.keys() - whole.keys()]
        faults += [f"{name} is missing" for name in whole.keys() - found.keys()]
    return faults


@dataclass
class Tally:
    """What came of the kills of an act."""

    kills: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ready:
    """An act in a fresh folder; what it leaves when done; how long that took, in how many calls."""

    fresh: Path
    whole: dict[str, bytes]
    took_s: float
    calls: int


def prepared(act: Act, root: Path) -> Ready:
    fresh, done = root / "fresh" / "place", root / "whole" / "place"
    fresh.mkdir(parents=True)
    undisturbed(act, fresh, prepare=True)
    shutil.copytree(fresh, done)
    took_s = undisturbed(act, done)
    calls = int(done.with_name("log.count").read_text())
    return Ready(fresh, contents(done), took_s, calls)


def fill_often(act: Act, times: int, seed: int, root: Path, tally: Tally) -> None:
    """Let the disk be full from a random call on, each time in a fresh folder; then make room."""
    draws, ready = random.Random(f"{seed} {act.name}"), prepared(act, root)
    for number in range(times):
        place = root / f"{number}" / "place"
        shutil.copytree(ready.fresh, place)
        process = start(act, place, draws.randint(1, ready.calls), draws.choice((0, 100, 5000)))
        process.join(300)
        tally.kills += process.exitcode != 0
        if process.exitcode not in (0, EXIT_ERROR):
            tally.faults.append(f"exit status {process.exitcode}")
        tally.faults += faults_of(ready.whole, place, done=False)
        undisturbed(act, place)
        tally.faults += faults_of(ready.whole, place, done=True)
        shutil.rmtree(place.parent)


def kill_often(act: Act, kills: int, seed: int, root: Path, tally: Tally) -> None:
    """Kill an act at random moments, some times in each fresh folder, and let it end."""
    draws, ready = random.Random(f"{seed} {act.name}"), prepared(act, root)
    whole, took_s, events = ready.whole, ready.took_s, ready.calls
    while tally.kills < kills:
        place = root / f"{tally.kills}" / "place"
        shutil.copytree(ready.fresh, place)
        for _ in range(min(draws.randint(1, 5), kills - tally.kills)):  # what continues dies, too
            deaths = [draws.randint(1, events) if draws.random() < 0.5 else 0 for _ in range(9)]
            processes = [start(act, place, death) for death in deaths[: act.processes]]
            for process, death in zip(processes, deaths, strict=False):
                process.join(300 if death else draws.random() * took_s)
                process.kill()
            for process in processes:
                process.join(100)
            tally.kills += sum(process.exitcode == -signal.SIGKILL for process in processes)
            tally.faults += faults_of(whole, place, done=False)
        undisturbed(act, place)
        tally.faults += faults_of(whole, place, done=True)
        shutil.rmtree(place.parent)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Print a table of all acts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--full-disk", action="store_true")
    asked = parser.parse_args()
    wanted = asked.only.split(";")
    acts = [act for act in ACTS if any(part in act.name for part in wanted)]
    say("| act | times | faults |\n| --- | --- | --- |")
    total, wrong = 0, 0
    for number, act in enumerate(acts):
        kills = -(-(asked.kills - total) // (len(acts) - number))
        with tempfile.TemporaryDirectory() as folder:
            tally = Tally()
            try:
                spoil = fill_often if asked.full_disk else kill_often
                spoil(act, kills, asked.seed, Path(folder), tally)
            except AssertionError as error:
                tally.faults.append(f"{act.name}: {error}")
        total, wrong = total + tally.kills, wrong + len(tally.faults)
        say(f"| {act.name} | {tally.kills} | {len(tally.faults)} |")
        for fault in dict.fromkeys(tally.faults):
            say(f"  {fault}")
    say(f"| all | {total} | {wrong} |")


if __name__ == "__main__":
    from kills import main as importable  # children import what they run by its name

    importable()
