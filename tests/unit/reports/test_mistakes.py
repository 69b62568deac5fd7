"""Mistakes are kept as small pictures, the surest first, and drawn from what is sound of them."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from pathlib import Path

import pytest
from PIL import Image

from fewtune.core.task import Example
from fewtune.reports import study_mistakes, study_plots
from fewtune.reports.figures import is_svg
from fewtune.reports.study_runs import Cell, Run
from fewtune.training.mistakes import FILE, store_mistakes
from fixtures import picture, write_image


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with predictions of eight images, five of them wrong."""
    rows = [(0, 1, 0.5), (0, 1, 0.9), (0, 1, 0.7), (0, 0, 0.9), (1, 0, 0.6), (1, 1, 1.0),
            (1, 1, 1.0), (1, 0, 0.4)]  # fmt: skip
    with (tmp_path / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "label", "prediction", "confidence"])
        writer.writerows((f"{i}.png", *row) for i, row in enumerate(rows))
    examples = []
    for i, (label, *_) in enumerate(rows):
        path = tmp_path / "images" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        write_image(path, picture(i))
        examples.append(Example(f"{i}.png", label, path))
    store_mistakes(tmp_path, examples)
    return tmp_path


def test_the_surest_are_kept_two_of_a_class(run: Path) -> None:
    kept = json.loads((run / FILE).read_text())
    assert [(one["label"], one["confidence"]) for one in kept] == [
        (0, 0.9), (0, 0.7), (1, 0.6), (1, 0.4),
    ]  # fmt: skip
    image = Image.open(io.BytesIO(base64.b64decode(kept[0]["jpeg"])))
    assert image.format == "JPEG"
    assert max(image.size) <= 96


def test_they_are_drawn_with_names_and_without_what_is_damaged(run: Path) -> None:
    kept = json.loads((run / FILE).read_text())
    kept[1]["jpeg"] = '"/><script>'
    kept[2]["label"] = 7
    (run / FILE).write_text(json.dumps(kept))
    record = {"task": {"classes": ["cat & dog", "<b>"]}}
    drawn = study_mistakes.draw(Run(run, record))
    assert is_svg(drawn)
    assert drawn.count("<image") == 2
    assert "cat &amp; dog" in drawn
    assert "→ &lt;b&gt;, 90%" in drawn
    assert "script" not in drawn
    (run / FILE).write_text("torn")
    assert study_mistakes.draw(Run(run, record)) == ""


def test_a_deviation_that_nobody_knows_is_not_drawn() -> None:
    def cell(*scores: float) -> Cell:
        return Cell(tuple(Run(Path(), {"metrics": {"top1": score}}) for score in scores))

    assert math.isnan(study_plots._mean_spread([cell(0.5), cell(0.4, 0.6)]))
    assert study_plots._mean_spread([cell(0.4, 0.6)]) == pytest.approx(0.1 * math.sqrt(2))
