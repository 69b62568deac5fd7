"""Comparison of runs as one self-contained web page: nothing is loaded from anywhere.

It has no script; light and dark follow the reader's system; it fits a screen of 375 px.
"""

import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from fewtune.backbones.model_names import CAVEATS
from fewtune.core.errors import RunError
from fewtune.core.spec import Spec
from fewtune.core.task import Task
from fewtune.data.decode import open_image
from fewtune.reports import summary
from fewtune.reports.figures import data_uri
from fewtune.reports.page_templates import render
from fewtune.training.job import Result
from fewtune.training.run_folder import RunFolder

SAMPLES = 10
SAMPLE_PX = 160


@dataclass(frozen=True)
class Sample:
    """A test image with what two runs make of it; names of classes, and a data URI."""

    image: str
    label: str
    before: str
    after: str


def page(results: Sequence[Result], title: str, next_command: str, task: Task | None = None) -> str:
    """Return a comparison of runs of one task, with their zero-shot run first, as HTML.

    Args:
        task: The task before draws; with it, some test images are shown.

    Raises:
        RunError: The runs are not compared with the same zero-shot run.
    """
    zero_shot = results[0].zero_shot
    if any(result.zero_shot["hash"] != zero_shot["hash"] for result in results):
        raise RunError(
            "These runs are compared with different zero-shot runs.",
            hint="A page shows runs of one task, backbone and precision.",
        )
    rows = summary.rows(zero_shot, [result.record for result in results])
    best = max(results, key=lambda result: result.record["metrics"]["top1"])
    return render(
        "page.html.jinja",
        title=title,
        next_command=next_command,
        rows=rows,
        zero_shot=zero_shot,
        best=best.record,
        best_title=summary.strategy_of(best.record).title,
        best_folder=shlex.quote(f"{best.folder.parent.name}/{best.folder.name}"),
        results=results,
        plots=[
            (summary.strategy_of(r.record).title,
             data_uri((r.folder / "summary.png").read_bytes(), "png"))
            for r in results
        ],
        samples=samples(task, zero_shot, best) if task else [],
        task=task,
        caveat=CAVEATS.get(zero_shot["spec"]["backbone"]),
        scaled=any(row.steps_scale != 1 for row in rows),
    )  # fmt: skip


def samples(task: Task, zero_shot: dict[str, Any], best: Result) -> list[Sample]:
    """Return the first test image of each of the first classes; nothing else decides which."""
    first: dict[int, int] = {}
    for index, example in enumerate(task.test):
        first.setdefault(example.label, index)
    base = best.folder.with_name(Spec.model_validate(zero_shot["spec"]).folder())
    _, before = RunFolder(base).predictions()
    _, after = RunFolder(best.folder).predictions()
    names = task.classes.names
    return [
        Sample(
            _thumbnail(open_image(task.test[index].source)),
            names[label],
            names[before[index]],
            names[after[index]],
        )
        for label, index in sorted(first.items())[:SAMPLES]
    ]


def _thumbnail(image: Image.Image) -> str:
    image.thumbnail((SAMPLE_PX, SAMPLE_PX))
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return data_uri(encoded.getvalue(), "png")
