"""Verification: every image of a task is decoded once, reported on, and left out if need be.

The facts of a folder's images are kept in the cache folder under a hash of all paths, sizes and
times of change, so that a second look at an unchanged folder opens no image.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError, RunError
from fewtune.core.files import digest, write_atomic
from fewtune.core.paths import cache_dir
from fewtune.core.task import Example, Task
from fewtune.data.findings import DataReport, make_report
from fewtune.data.image_facts import ImageFacts, inspect_image
from fewtune.data.label_table import counted, plain

# Raise it whenever `ImageFacts` or its meaning changes: older cached facts are then not read.
FACTS_VERSION = 2
CHUNK = 32

Progress = Callable[[int, int], None]


def verify(
    task: Task,
    shots: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> DataReport:
    """Decode every image of the task and report on them.

    Args:
        task: What to look at; it need not have a test split yet.
        shots: Images per class that will be drawn; classes with fewer are reported.
        workers: Threads; by default one per core, at most 8.
        progress: Called with (images done, images in all) now and then.
    """
    examples = [example for split in task.splits().values() for example in split]
    cached = _cache_file(examples)
    facts = _read_facts(cached, examples)
    if facts is None:
        facts = _inspect(examples, workers, progress)
        _write_facts(cached, facts)
    else:
        # Permissions and disks are mended without a trace in the file's size or time.
        failed = [example for example in examples if facts[example.key].error is not None]
        facts |= _inspect(failed, workers, None)
    return make_report(task, facts, shots)


def repair(task: Task, report: DataReport) -> Task:
    """Return the task without unreadable images and without test images that are trained on.

    The test split of a benchmark keeps all that can be read. The report may have been made before
    the task was split: what counts is where an image is now.

    Raises:
        DataError: A class has lost all its training images.
    """
    readable = {
        split: tuple(e for e in examples if report.facts[e.key].error is None)
        for split, examples in task.splits().items()
    }
    clean = readable["test"] if task.benchmark else _unlearned(readable, report)
    notes = list(task.notes)
    lost = sum(map(len, task.splits().values())) - sum(map(len, readable.values()))
    if lost:
        notes.append(f"left out {counted(lost, 'image')} that cannot be read")
    leaked = len(readable["test"]) - len(clean)
    if leaked:
        notes.append(
            f"left out {counted(leaked, 'test image')} that also stand in training or validation"
        )
    _require_images(task, readable["train"], clean, report)
    return replace(
        task, train=readable["train"], val=readable["val"], test=clean, notes=tuple(notes)
    )


def _unlearned(
    readable: Mapping[str, tuple[Example, ...]], report: DataReport
) -> tuple[Example, ...]:
    """Return the test images that stand in no other split."""
    learned = {
        report.facts[example.key].digest for example in (*readable["train"], *readable["val"])
    }
    return tuple(e for e in readable["test"] if report.facts[e.key].digest not in learned)


def _require_images(
    task: Task, train: Sequence[Example], test: Sequence[Example], report: DataReport
) -> None:
    """Refuse a repair that leaves a class, or the test split, empty that was not empty before."""
    left = {example.label for example in train}
    for example in task.train:
        if example.label not in left:
            name = task.classes.names[example.label]
            raise DataError(
                f"Class {name!r} has no training image that can be read; for example {example.key}"
                f": {report.facts[example.key].error}.",
                hint="Replace its images or remove the class.",
            )
    if task.test and not test:
        raise DataError(
            "No test image is left: each is unreadable or also stands in training or validation.",
            hint="Provide other test images, or remove the test split to have one set aside.",
        )


def _inspect(
    examples: Sequence[Example], workers: int | None, progress: Progress | None
) -> dict[str, ImageFacts]:
    chunks = [examples[i : i + CHUNK] for i in range(0, len(examples), CHUNK)]

    def inspect_chunk(chunk: Sequence[Example]) -> list[ImageFacts]:
        return [inspect_image(example.source) for example in chunk]

    facts: dict[str, ImageFacts] = {}
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        try:
            for chunk, found in zip(chunks, pool.map(inspect_chunk, chunks), strict=True):
                facts.update(zip((example.key for example in chunk), found, strict=True))
                if progress is not None:
                    progress(len(facts), len(examples))
        except BaseException:  # Ctrl-C must not wait for the images that are left
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return facts


def _cache_file(examples: Sequence[Example]) -> Path | None:
    """Return where the facts of these images are kept; None if some cannot be told apart.

    The name is a sum of hashes: it depends on no order, and needs no list of them.
    """
    total = 0
    for example in examples:
        stamp = _stamp(example.source)
        if stamp is None:
            return None
        line = json.dumps([example.key, *stamp])
        total += int.from_bytes(hashlib.sha256(line.encode()).digest())
    name = digest([FACTS_VERSION, _pillow_version(), len(examples), f"{total % 2**256:x}"])
    return cache_dir() / "verify" / f"{name}.jsonl"


def _stamp(source: Any) -> tuple[str | int, ...] | None:
    """Return what changes whenever the image does; None for what only the program holds."""
    if hasattr(source, "stamp"):  # it is computed, and says how
        stamp: tuple[str | int, ...] = source.stamp()
        return stamp
    inner = getattr(source, "slice", source)
    path = source if isinstance(source, Path) else getattr(inner, "path", None)
    if not isinstance(path, Path):
        return None
    # Sources are frozen values that show all their fields: place, size and shape in the file.
    name = plain(str(path)) if path is source else plain(repr(source))
    try:
        info = path.stat()
    except (OSError, ValueError):
        return name, 0, 0
    return name, info.st_size, info.st_mtime_ns


def _pillow_version() -> str:
    from PIL import __version__

    return __version__


def _read_facts(path: Path | None, examples: Sequence[Example]) -> dict[str, ImageFacts] | None:
    """Return the cached facts in the order of the examples, or None if there are none to trust."""
    if path is None or not path.is_file():
        return None
    stored: dict[str, ImageFacts] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                key, values = json.loads(line)
                stored[key] = ImageFacts(**values)
        return {example.key: stored[example.key] for example in examples}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_facts(path: Path | None, facts: Mapping[str, ImageFacts]) -> None:
    """Keep the facts; a cache folder that cannot be written costs time, not the run."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            for key, fact in facts.items():
                file.write(json.dumps([key, dict(_fields(fact))]) + "\n")

    if path is not None:
        with contextlib.suppress(RunError):
            write_atomic(path, write)


def _fields(fact: ImageFacts) -> Iterator[tuple[str, Any]]:
    """Yield the fields that differ from their defaults: most do not."""
    for field in dataclasses.fields(fact):
        value = getattr(fact, field.name)
        if value != field.default:
            yield field.name, value
