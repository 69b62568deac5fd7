"""Short runs of the tiny task, and what the code of an export's card prints."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fewtune.exports import merged
from fewtune.model.load_strategy import load_strategy
from fewtune.testing import tiny_task
from fewtune.training.job import Job
from fewtune.training.named_recipes import configure
from fewtune.training.run import train
from fewtune.training.tracking import Tracker

TASK = replace(tiny_task(), test=())


@cache
def tuned_run(strategy: str, backbone: Path, runs: Path, **options: Any) -> Path:
    """Train for two steps at a high rate, so that every trained tensor has visibly moved.

    What trains nothing keeps its recipe.
    """
    job_options: dict[str, Any] = {}
    if "resize" in options:
        job_options["resize"] = options.pop("resize")
    default = load_strategy(strategy).recipe
    if default and default.length:
        options |= {"lr": 0.05, "length": 2, "length_unit": "steps", "warmup": 0}
    made, recipe = configure(strategy, options)
    job = Job.of(
        made, TASK, str(backbone), recipe, precision="fp32", device="cpu", runs=runs,
        **job_options,
    )  # fmt: skip
    return train(job, Tracker())


def printed_by(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what the code of a card prints from within the export."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    for module in ("pixels", "classify"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    printed = io.StringIO()
    with merged.quiet(), contextlib.redirect_stdout(printed):
        exec(compile(code, "card", "exec"), {})
    return printed.getvalue()
