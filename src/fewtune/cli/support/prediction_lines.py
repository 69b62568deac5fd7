"""Predictions as lines, written one at a time: aligned text, csv, or a JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fewtune.core.csv_text import csv_text

if TYPE_CHECKING:
    from fewtune.training.prediction import Prediction

WIDEST_NAME = 30


def table_lines(predictions: Iterable[Prediction], names: Sequence[str], top: int) -> Iterator[str]:
    """Yield probability and class, best first, then the path: columns that need no look ahead."""
    width = min(WIDEST_NAME, max(map(len, names)))
    for prediction in predictions:
        parts = [f"{share:7.2%}  {name:<{width}}" for name, share in prediction.top]
        path = str(prediction.source).replace("\n", "\\n").replace("\r", "\\r")
        yield "  ".join([*parts, path]) + "\n"


def csv_lines(predictions: Iterable[Prediction], names: Sequence[str], top: int) -> Iterator[str]:
    """Yield path, class, probability, and class_2, probability_2, ... for further classes."""
    further = range(2, min(top, len(names)) + 1)
    columns = [column for i in further for column in (f"class_{i}", f"probability_{i}")]
    yield csv_text([["path", "class", "probability", *columns]])
    for prediction in predictions:
        cells = [cell for name, share in prediction.top for cell in (name, f"{share:.6f}")]
        yield csv_text([[str(prediction.source), *cells]])


def json_lines(predictions: Iterable[Prediction], names: Sequence[str], top: int) -> Iterator[str]:
    """Yield {"path": ..., "class": ..., "probability": ..., "top": [...]}, in ASCII."""
    for prediction in predictions:
        value: dict[str, object] = {
            "path": str(prediction.source),
            "class": prediction.name,
            "probability": round(prediction.probability, 6),
        }
        if top > 1:
            value["top"] = [
                {"class": name, "probability": round(share, 6)} for name, share in prediction.top
            ]
        yield json.dumps(value) + "\n"


# By the name of the format, as --format has it.
LINES: dict[str, Callable[[Iterable[Prediction], Sequence[str], int], Iterator[str]]] = {
    "table": table_lines,
    "csv": csv_lines,
    "jsonl": json_lines,
}
