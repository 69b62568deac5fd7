"""Mistakes as pictures: wrongly classified test images, with what they are and are taken for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import escape

from fewtune.core.errors import FewTuneError
from fewtune.core.files import read_json
from fewtune.reports.study_runs import Run, Study
from fewtune.reports.summary import shorten
from fewtune.training.mistakes import FILE, SIDE_PX

COLUMNS = 6
NAME_CHARACTERS = 20
WIDTH, HEIGHT = SIDE_PX + 44, SIDE_PX + 44  # of a picture with its two lines


def mistakes(study: Study, task: str) -> str:
    """Draw mistakes of the best method on a task; "" where no run has kept any."""
    best = study.best(task)
    runs = (run for run in best[1].runs if (run.folder / FILE).is_file()) if best else iter(())
    run = next(runs, None)
    return draw(run) if run else ""


def draw(run: Run) -> str:
    """Draw the mistakes that a run has kept; "" where it has none."""
    shown = list(_read(run))
    if not shown:
        return ""
    names = run.record["task"]["classes"]
    cells = "".join(_cell(place, names, one) for place, one in enumerate(shown))
    width, height = WIDTH * min(COLUMNS, len(shown)), HEIGHT * -(-len(shown) // COLUMNS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-size="11">{cells}</svg>'
    )


def _read(run: Run) -> Iterator[Mapping[str, Any]]:
    """Yield what a run has kept, without what is damaged."""
    try:
        kept = read_json(run.folder / FILE)
    except FewTuneError:
        return
    classes = range(len(run.record["task"]["classes"]))
    for one in kept if isinstance(kept, list) else []:
        try:
            base64.b64decode(one["jpeg"], validate=True)
            if one["label"] in classes and one["prediction"] in classes:
                yield {**one, "confidence": float(one["confidence"])}
        except (binascii.Error, KeyError, TypeError, ValueError):
            continue


def _cell(place: int, names: list[str], one: Mapping[str, Any]) -> str:
    row, column = divmod(place, COLUMNS)
    x, y = column * WIDTH, row * HEIGHT
    is_, taken = (
        escape(shorten(names[one[of]], NAME_CHARACTERS)) for of in ("label", "prediction")
    )
    return (
        f'<image x="{x}" y="{y}" width="{SIDE_PX}" height="{SIDE_PX}" '
        f'href="data:image/jpeg;base64,{one["jpeg"]}"/>'
        f'<text x="{x}" y="{y + SIDE_PX + 14}" fill="currentColor" font-weight="bold">{is_}</text>'
        f'<text x="{x}" y="{y + SIDE_PX + 28}" fill="currentColor">→ {taken}, '
        f"{one['confidence']:.0%}</text>"
    )
