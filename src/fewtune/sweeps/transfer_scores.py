"""Scores of a tuned model on images that its run was not scored on: other classes, other datasets.

They stand in `elsewhere.json` next to the record, by name of the task. What stands there is not
computed again. A strategy that only knows its training classes has null where there are others.
Images that the run has learned from are left out, and zero-shot is scored on the others too.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fewtune.core.files import read_json
from fewtune.core.task import Task

FILE = "elsewhere.json"


def read_scores(run: Path) -> dict[str, dict[str, Any]]:
    """Return what was measured of a run: {task: {"data", "images", "top1"}}."""
    path = run / FILE
    return dict(read_json(path)) if path.exists() else {}


def unmeasured(run: Path, tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks that a run has not been measured on as they are now."""
    known = read_scores(run)
    return [task for task in tasks if known.get(task.name, {}).get("data") != task.fingerprint()]
