"""FewTune: tune CLIP on a handful of labelled images."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewtune.api import Classifier
    from fewtune.core.errors import FewTuneError
    from fewtune.core.spec import Recipe
    from fewtune.core.task import ClassSet, Example, Task
    from fewtune.data.layouts import open_task
    from fewtune.export import export_run
    from fewtune.model.load_strategy import load_strategy
    from fewtune.training.job import Job
    from fewtune.training.load_run import load_run
    from fewtune.training.run import run

    __version__: str

__all__ = [
    "ClassSet",
    "Classifier",
    "Example",
    "FewTuneError",
    "Job",
    "Recipe",
    "Task",
    "__version__",
    "export_run",
    "load_run",
    "load_strategy",
    "open_task",
    "run",
]

_HOMES = {
    "ClassSet": "core.task",
    "Classifier": "api",
    "Example": "core.task",
    "FewTuneError": "core.errors",
    "Job": "training.job",
    "Recipe": "core.spec",
    "Task": "core.task",
    "export_run": "export",
    "load_run": "training.load_run",
    "load_strategy": "model.load_strategy",
    "open_task": "data.layouts",
    "run": "training.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import fewtune` costs nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("fewtune")
    if name not in _HOMES:
        raise AttributeError(f"module 'fewtune' has no attribute {name!r}")
    value = getattr(import_module(f"fewtune.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
