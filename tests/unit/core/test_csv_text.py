"""CSV that spreadsheets show and do not run."""

from __future__ import annotations

import csv
import io

import pytest

from fewtune.core.csv_text import csv_text


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("x")']
)
def test_formulas_are_defused(text: str) -> None:
    (row,) = csv.reader(io.StringIO(csv_text([[text, "b"]]), newline=""))
    assert row == [f"'{text}", "b"]


@pytest.mark.parametrize("cell", ["-1", "+2.5", "-.5", -1.5, "a=b", "e-mail", "", "–"])
def test_numbers_and_other_text_stay(cell: object) -> None:
    assert csv_text([[cell, "x"]]) == f"{cell},x\n"
