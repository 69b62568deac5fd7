"""Mistakes of a run as small pictures, kept in its folder: a report shows them without the images.

They are the mistakes that the run is surest of, at most two of a class.
"""

from __future__ import annotations

import base64
import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from fewtune.core.files import write_json
from fewtune.core.task import Example
from fewtune.data.decode import open_image

FILE = "mistakes.json"
MOST, OF_A_CLASS = 12, 2
SIDE_PX = 96


def store_mistakes(run: Path, examples: Sequence[Example]) -> None:
    """Write pictures of wrongly classified images of a run that was evaluated.

    Args:
        examples: The images of its predictions.csv, in their order.
    """
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [index for index, row in enumerate(rows) if row["label"] != row["prediction"]]
    wrong.sort(key=lambda index: -float(rows[index]["confidence"]))
    shown, taken = list[dict[str, Any]](), Counter[str]()
    for index in wrong:
        row = rows[index]
        if len(shown) < MOST and taken[row["label"]] < OF_A_CLASS:
            taken[row["label"]] += 1
            about = {"label": int(row["label"]), "prediction": int(row["prediction"])}
            picture = _thumbnail(examples[index])
            shown.append({**about, "confidence": float(row["confidence"]), "jpeg": picture})
    write_json(run / FILE, shown)


def _thumbnail(example: Example) -> str:
    """Return an image, its longer side `SIDE_PX`, as JPEG in base64."""
    image = open_image(example.source)
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return base64.b64encode(stream.getvalue()).decode()
