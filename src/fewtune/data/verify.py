"""Image verification: every image of a task is decoded once; bad ones are reported and left out.

Results are cached under a hash of all paths, sizes and modification times, so that verifying an
unchanged folder again opens no image.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError, RunError
from fewtune.core.files import digest, write_atomic
from fewtune.core.naming import counted
from fewtune.core.paths import cache_dir
from fewtune.core.task import Example, Task
from fewtune.data.findings import DataReport, make_report
from fewtune.data.image_facts import ImageFacts, inspect_image
from fewtune.data.label_table import plain, shown

Progress = Callable[[int, int], None]  # told (images done, total)

# Raise it whenever `ImageFacts` or its meaning changes, so that older cached facts are not read.
FACTS_VERSION = 3
CHUNK = 32
_DEFAULTS = asdict(ImageFacts())


def verify(
    task: Task,
    shots: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> DataReport:
    """Decode every image of the task and report on them.

    Args:
        task: May still be without a test split.
        workers: Threads; by default one per core, at most 8.
        progress: Called now and then.
    """
    examples = [example for split in task.splits().values() for example in split]
    cached = _cache_file(examples)
    facts = _read_facts(cached, examples)
    if facts is None:
        facts = _inspect(examples, workers, progress)
        _write_facts(cached, facts)
    else:
        # Repaired permissions and disks leave a file's size and time unchanged.
        failed = [example for example in examples if facts[example.key].error is not None]
        facts |= _inspect(failed, workers, None)
    return make_report(task, facts, shots)


def repair(task: Task, report: DataReport) -> Task:
    """Return the task without unreadable images and without test images that are trained on.

    The test split of a benchmark keeps all readable images. The report may be older than the
    splits of the task: leaks are judged by the current ones.

    Raises:
        DataError: A class has lost all its training images, or all 16-bit images are nearly black.
    """
    for finding in report.findings:
        if finding.kind == "unused-bits" and finding.level == "error":
            raise DataError(f"{finding.message}.", hint=finding.hint)
    readable = {
        split: tuple(e for e in examples if report.facts[e.key].error is None)
        for split, examples in task.splits().items()
    }
    clean = readable["test"]
    if not task.benchmark:
        support = (*readable["train"], *readable["val"])
        learned = {report.facts[e.key].digest for e in support}
        clean = tuple(e for e in clean if report.facts[e.key].digest not in learned)
    notes = list(task.notes)
    lost = sum(map(len, task.splits().values())) - sum(map(len, readable.values()))
    if lost:
        notes.append(f"left out {counted(lost, 'image')} that cannot be read")
    leaked = len(readable["test"]) - len(clean)
    if leaked:
        notes.append(
            f"left out {counted(leaked, 'test image')} that are also in training or validation"
        )
    emptied = {e.label for e in task.test} - {e.label for e in clean}
    if emptied and clean:
        names = shown(repr(task.classes.names[label]) for label in sorted(emptied))
        notes.append(f"no test image is left of {names}: the scores say nothing about it")
    _require_images(task, readable["train"], clean, report)
    return replace(
        task, train=readable["train"], val=readable["val"], test=clean, notes=tuple(notes)
    )


def _require_images(
    task: Task, train: Sequence[Example], test: Sequence[Example], report: DataReport
) -> None:
    """Refuse a repair that empties a class or the test split."""
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
            "No test image is left: each is unreadable or also in training or validation.",
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
        except BaseException:  # Ctrl-C must not wait for the remaining images
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return facts


def _cache_file(examples: Sequence[Example]) -> Path | None:
    """Return where the facts of these images are cached; None if some cannot be identified.

    The name is a sum of hashes, which does not depend on their order and needs no list of them.
    """
    total = 0
    for example in examples:
        stamp = _stamp(example.source)
        if stamp is None:
            return None
        line = json.dumps([example.key, *stamp])
        total += int.from_bytes(hashlib.sha256(line.encode()).digest())
    name = digest([FACTS_VERSION, version("pillow"), len(examples), f"{total % 2**256:x}"])
    return cache_dir() / "verify" / f"{name}.jsonl"


def _stamp(source: Any) -> tuple[str | int, ...] | None:
    """Return values that change whenever the image does; None for images in memory."""
    if hasattr(source, "stamp"):  # a computed image
        stamp: tuple[str | int, ...] = source.stamp()
        return stamp
    inner = getattr(source, "slice", source)
    path = source if isinstance(source, Path) else getattr(inner, "path", None)
    if not isinstance(path, Path):
        return None
    # Sources are dataclasses, whose repr has the place, size and shape in the file.
    name = plain(str(path)) if path is source else plain(repr(source))
    try:
        info = path.stat()
    except (OSError, ValueError):
        return name, 0, 0
    return name, info.st_size, info.st_mtime_ns


def _read_facts(path: Path | None, examples: Sequence[Example]) -> dict[str, ImageFacts] | None:
    """Return the cached facts in the order of the examples; None if missing or damaged."""
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
    """Cache the facts, without an error if the cache folder cannot be written."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            for key, fact in facts.items():
                values = {k: v for k, v in asdict(fact).items() if v != _DEFAULTS[k]}
                file.write(json.dumps([key, values]) + "\n")

    if path is not None:
        with contextlib.suppress(RunError):
            write_atomic(path, write)


class DataListener:
    """Callbacks for what is found about images; by default they do nothing."""

    @contextlib.contextmanager
    def checking(self, images: int) -> Iterator[Progress | None]:
        """Images are being decoded; yields a callback for (done, total), or None."""
        yield None

    def opened(self, task: Task) -> None:
        """A task was read; no image has been opened."""

    def checked(self, report: DataReport) -> None:
        """Every image has been decoded."""

    def usable(self, task: Task) -> None:
        """Unusable images were left out; these are the images and prompts of the runs."""

    def note(self, text: str) -> None:
        """The task was changed."""

    def warn(self, text: str) -> None:
        """Something is probably a mistake."""
