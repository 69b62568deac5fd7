"""What tuning on one task costs on the others: accuracy on their images before and after.

A run is measured on the test images of another task with that task's class prompts, and compared
with the zero-shot run there. Heads that only know their training classes cannot be measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from fewtune.bench.results import RETENTION, Kept, read_kept
from fewtune.bench.sweep import Entry
from fewtune.core.files import read_json, write_json
from fewtune.core.spec import ZERO_SHOT
from fewtune.core.task import Task
from fewtune.engine import evaluate
from fewtune.engine.adapter import load_run
from fewtune.engine.run import used_classes


def measure(run: Path, others: Mapping[Path, Task], device: str = "auto") -> dict[str, Kept]:
    """Measure a complete run on other tasks, store it in the run's folder and return it.

    What the folder holds already is not measured again.

    Args:
        others: Tasks with test images, by the folder of their complete zero-shot run.

    Raises:
        RunError, AdapterError: The run cannot be loaded.
    """
    known = read_kept(run)
    missing = {folder: task for folder, task in others.items() if task.name not in known}
    if not missing:
        return known
    tuned = load_run(run, device)
    assert tuned.spec is not None
    if tuned.head.class_bound or tuned.head.classifier == "linear":
        return known
    for folder, task in missing.items():
        classes = used_classes(task.classes, tuned.spec.templates)
        scores = tuned.with_classes(classes).scores(task.test)
        labels = torch.tensor([example.label for example in task.test])
        before = read_json(folder / "record.json")["metrics"]["top1"]
        known[task.name] = Kept(before, evaluate.metrics(scores, labels)["top1"])
    write_json(run / RETENTION, {name: vars(kept) for name, kept in sorted(known.items())})
    return known


def measure_all(entries: Iterable[Entry]) -> None:
    """Measure every complete run of a sweep on the other tasks of the sweep.

    Raises:
        RunError, AdapterError: A run cannot be loaded.
    """
    done = [entry for entry in entries if entry.status() == "done"]
    for entry in done:
        others = {
            other.baseline: other.job.task
            for other in done
            if other.spec.task != entry.spec.task
            and other.spec.backbone == entry.spec.backbone
            and other.spec.precision == entry.spec.precision
        }
        if entry.spec.strategy != ZERO_SHOT:
            measure(entry.folder, others, entry.job.device)
