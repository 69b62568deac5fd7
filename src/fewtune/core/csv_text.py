"""Rows as CSV that a spreadsheet shows and does not run: names come from strangers' files."""

import csv
import io
import re
from collections.abc import Iterable

# Spreadsheets take a cell that begins so for a formula, but not a number such as -1.5.
FORMULA = re.compile(r"[=+\-@\t\r](?!\d*\.?\d+\Z)")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV with Unix line ends; text that would be a formula begins with "'"."""
    return "".join(map(_line, rows))


def _line(row: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(map(_defused, row))  # its own "\r\n" makes it quote a lone "\r"
    return f"{text.getvalue()[:-2]}\n"


def _defused(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell
