"""FewTune: tune CLIP on a handful of labelled images."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewtune.api import SweepResult, evaluate, export, fit, fit_seeds, predict, report, sweep
    from fewtune.classifier import Classifier
    from fewtune.core.errors import FewTuneError
    from fewtune.core.run_config import RunConfig
    from fewtune.core.spec import Recipe
    from fewtune.core.task import ClassSet, Example, Task
    from fewtune.data.layouts import open_task
    from fewtune.model.load_strategy import load_strategy
    from fewtune.training.job import Result
    from fewtune.training.load_run import load_run

    __version__: str

# Threads of torch that wait for each other sleep instead of spinning: on a busy machine that is ten
# and more times as fast (docs/speed.md). libgomp reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Public names and the modules that they live in.
_HOMES = {
    "ClassSet": "core.task",
    "Classifier": "classifier",
    "Example": "core.task",
    "FewTuneError": "core.errors",
    "Recipe": "core.spec",
    "Result": "training.job",
    "RunConfig": "core.run_config",
    "SweepResult": "api",
    "Task": "core.task",
    "evaluate": "api",
    "export": "api",
    "fit": "api",
    "fit_seeds": "api",
    "load_run": "training.load_run",
    "load_strategy": "model.load_strategy",
    "open_task": "data.layouts",
    "predict": "api",
    "report": "api",
    "sweep": "api",
}

__all__ = [
    "ClassSet",
    "Classifier",
    "Example",
    "FewTuneError",
    "Recipe",
    "Result",
    "RunConfig",
    "SweepResult",
    "Task",
    "__version__",
    "evaluate",
    "export",
    "fit",
    "fit_seeds",
    "load_run",
    "load_strategy",
    "open_task",
    "predict",
    "report",
    "sweep",
]


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
