"""Predictions as rows, written one at a time: aligned text, csv, or a JSON object a line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewtune.training.prediction import Prediction

FORMATS = ("table", "csv", "jsonl")
WIDEST_NAME = 30


class TableRows:
    """Probability and class, best first, then the path: columns that need no look ahead."""

    def __init__(self, names: Sequence[str], top: int) -> None:
        self.width = min(WIDEST_NAME, max(map(len, names)))

    def head(self) -> str:
        """Return nothing: the columns speak for themselves."""
        return ""

    def row(self, prediction: Prediction) -> str:
        """Return a line."""
        parts = [f"{share:7.2%}  {name:<{self.width}}" for name, share in prediction.top]
        return "  ".join([*parts, _one_line(str(prediction.source))]) + "\n"


class CsvRows:
    """path, class, probability, and class_2, probability_2, ... for further classes."""

    def __init__(self, names: Sequence[str], top: int) -> None:
        self.top = min(top, len(names))

    def head(self) -> str:
        """Return the line of column names."""
        further = [(f"class_{i}", f"probability_{i}") for i in range(2, self.top + 1)]
        return _csv_line(["path", "class", "probability", *(n for pair in further for n in pair)])

    def row(self, prediction: Prediction) -> str:
        """Return a line."""
        cells = [cell for name, share in prediction.top for cell in (name, f"{share:.6f}")]
        return _csv_line([str(prediction.source), *cells])


class JsonRows:
    """{"path": ..., "class": ..., "probability": ..., "top": [...]}, in ASCII."""

    def __init__(self, names: Sequence[str], top: int) -> None:
        self.top = top

    def head(self) -> str:
        """Return nothing."""
        return ""

    def row(self, prediction: Prediction) -> str:
        """Return a line."""
        value: dict[str, object] = {
            "path": str(prediction.source),
            "class": prediction.name,
            "probability": round(prediction.probability, 6),
        }
        if self.top > 1:
            value["top"] = [
                {"class": name, "probability": round(share, 6)} for name, share in prediction.top
            ]
        return json.dumps(value) + "\n"


TokenBatch = TableRows | CsvRows | JsonRows


def writer_of(style: str, names: Sequence[str], top: int) -> TokenBatch:
    """Return the writer of one of `FORMATS`."""
    kinds: dict[str, type[TokenBatch]] = {"table": TableRows, "csv": CsvRows, "jsonl": JsonRows}
    return kinds[style](names, top)


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r")
