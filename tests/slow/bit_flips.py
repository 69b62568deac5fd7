"""Single bits turned in the files of a run, its backbone, a cache and a checkpoint.

    PYTHONPATH=tests:src:tests/slow python tests/slow/bit_flips.py --flips 1000

A turned bit is found (an error that names the file), or harmless (the same logits), or silent:
other logits without a word. None may be silent.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

import fewtune
from fewtune.core.errors import FewTuneError, RunError
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.disk_cache import DiskCache
from fewtune.training.load_run import load_run
from fewtune.training.run_folder import RunFolder
from fewtune.training.seen_images import SeenImages

SETTINGS = {"precision": "fp32", "threads": 1, "length": 2, "length_unit": "steps"}
# Pictures and words for people, and the log; nothing is computed from them.
SHOWN = ("summary.png", "README.md", "metrics.jsonl", "images.json", ".lock")
KEY = {"images": 4}


def flips(root: Path, times: int, seed: int = 0) -> Counter[tuple[str, str]]:
    """Turn bits, one at a time, and count (file, outcome)."""
    draws, counts = random.Random(seed), Counter[tuple[str, str]]()
    backbone = tiny_clip_folder(root / "backbone", blocks=1)
    run = fewtune.fit(
        tiny_task(), "clip-lora", backbone=str(backbone), runs=root / "runs", **SETTINGS
    ).folder
    places = [path for path in run.iterdir() if path.name not in SHOWN]
    places += [path for path in backbone.iterdir() if path.name != ".lock"]
    stored = torch.randn(64, generator=torch.Generator().manual_seed(0))
    said: list[str] = []
    cache = DiskCache(root / "cache", said.append, least_s=0.0)

    def compute() -> torch.Tensor:
        time.sleep(0.01)  # what is computed faster than a disk reads is not stored
        return stored

    cache.get(KEY, compute)
    places += [*(root / "cache").rglob("activations.safetensors")]

    def outcome(path: Path) -> object:
        if "cache" in path.parts:
            said.clear()
            value = cache.get(KEY, compute).clone()
            if said and torch.equal(value, stored):
                raise RunError(said[0])  # named, and computed again
            return value
        RunFolder(run).predictions()
        RunFolder(run).plan()
        SeenImages.read(run)
        return load_run(run, "cpu").scores(tiny_task().test[:2])

    whole = {path: outcome(path) for path in places}
    for _ in range(times):
        path = draws.choice(places)
        content = path.read_bytes()
        changed = bytearray(content)
        at = draws.randrange(len(content))
        changed[at] ^= 1 << draws.randrange(8)
        path.write_bytes(changed)
        counts[path.name, _judged(lambda path=path: outcome(path), whole[path])] += 1
        path.write_bytes(content)
    return counts


def _judged(read: Callable[[], object], expected: object) -> str:
    try:
        found = read()
    except FewTuneError:
        return "found"
    except Exception as error:
        return f"crash: {type(error).__name__}"
    assert isinstance(found, torch.Tensor)
    assert isinstance(expected, torch.Tensor)
    return "harmless" if torch.equal(found, expected) else "silent"


def main() -> int:
    """Print a table of files and outcomes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = flips(Path(folder), asked.flips)
    kinds = sorted({"found", "harmless", "silent"} | {kind for _, kind in counts})
    lines = [f"| file | {' | '.join(kinds)} |", f"| --- |{' --- |' * len(kinds)}"]
    for name in sorted({name for name, _ in counts}):
        lines.append(f"| {name} | {' | '.join(str(counts[name, kind]) for kind in kinds)} |")
    total = [sum(n for (_, of), n in counts.items() if of == kind) for kind in kinds]
    lines.append(f"| all | {' | '.join(map(str, total))} |")
    sys.stdout.write("\n".join(lines) + "\n")
    return sum(n for (_, kind), n in counts.items() if kind not in ("found", "harmless"))


if __name__ == "__main__":
    sys.exit(main())
