"""Tables of texts: the same on the page, as Markdown, LaTeX and CSV.

Tables of numbers, which protocols make, are `core.protocol.ScoreTable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fewtune.core.csv_text import csv_text
from fewtune.core.percentages import HOLE, percent, with_spread

if TYPE_CHECKING:
    from fewtune.core.protocol import Value
    from fewtune.reports.study_runs import Cell

Mark = Literal["", "best", "second"]
DIFFERS = " ≠"
MARKDOWN = {"": "{}", "best": "**{}**", "second": "*{}*"}
LATEX = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}
LATEX_SPECIAL = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%_#${}"},
        "±": r"$\pm$", "×": r"$\times$", "−": "$-$", "–": "--", "≠": r"$\neq$", "→": r"$\to$",
        "†": r"$\dagger$", "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)  # fmt: skip


@dataclass(frozen=True)
class TableCell:
    """A cell as it is shown."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class TableRow:
    """A row title, and an entry for each column but the first.

    Attributes:
        published: Whether these are the numbers of a paper, not ours.
    """

    title: str
    entries: tuple[TableCell, ...]
    published: bool = False


@dataclass(frozen=True)
class ReportTable:
    """A table that can be written in any format.

    Attributes:
        differences: A sentence for each score that is further from a published one than a faithful
            run's would be.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    def named(self, name: str) -> ReportTable:
        """Return it under another name."""
        return replace(self, name=name.replace("/", "-"))


def table_of_columns(
    name: str,
    title: str,
    titles: Sequence[str],
    columns: Sequence[tuple[str, Sequence[TableCell]]],
    notes: Sequence[str],
) -> ReportTable:
    """Return a table of named columns, with an entry for each of the row titles."""
    header = ("", *(name for name, _ in columns))
    rows = (TableRow(t, tuple(of[i] for _, of in columns)) for i, t in enumerate(titles))
    return ReportTable(name, title, header, tuple(rows), tuple(notes))


def as_cell(value: float | None, show: Callable[[float], str] = percent) -> TableCell:
    """Return a value as it is shown; None is a hole."""
    return TableCell(HOLE if value is None else show(value))


def ranked(
    values: Sequence[float | None], show: Callable[[float], str] = percent
) -> list[TableCell]:
    """Return the values with the best and the second marked, by what is shown of them."""
    cells = [as_cell(value, show) for value in values]
    ranks = sorted({_number(c.text) for c in cells if c.text != HOLE}, reverse=True)
    marks: dict[float, Mark] = dict(zip(ranks, ("best", "second"), strict=False))
    return [c if c.text == HOLE else replace(c, mark=marks.get(_number(c.text), "")) for c in cells]


def ranked_means(means: Sequence[Cell | Value | None]) -> list[TableCell]:
    """Return means with their spread over seeds, the best and the second marked; None is a hole."""
    entries = ranked([found.mean if found else None for found in means])
    return [
        replace(entry, text=with_spread(entry.text, found.spread)) if found else entry
        for found, entry in zip(means, entries, strict=True)
    ]


def _number(text: str) -> float:
    return float(text.replace("−", "-"))


def markdown(table: ReportTable) -> str:
    """Return the table as GitHub Markdown: best bold, second in italics."""
    rows = (
        [row.title, *(MARKDOWN[e.mark].format(_one_line(e.text)) for e in row.entries)]
        for row in table.rows
    )
    lines = [
        f"### {table.title}",
        "",
        markdown_rows(table.header, rows, right=True),
        *_below(table),
    ]
    return "\n".join(lines) + "\n"


def markdown_rows(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, right: bool = False
) -> str:
    """Return rows of cells as the lines of a Markdown table.

    Args:
        right: Whether all columns but the first are aligned to the right, as numbers are.
    """
    rule = ["---", *["---:" if right else "---"] * (len(header) - 1)]
    lines = ([_one_line(text).replace("|", r"\|") for text in row] for row in (header, rule, *rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def latex(table: ReportTable) -> str:
    """Return the table as LaTeX with booktabs: best bold, second underlined."""
    rows = [
        [_tex(row.title), *(LATEX[e.mark].format(_tex(e.text)) for e in row.entries)]
        for row in table.rows
    ]
    above = " ".join([f"{table.title}.", *_below(table)])
    return "\n".join(
        [
            f"% {_one_line(above)}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            " & ".join(map(_tex, table.header)) + r" \\",
            r"\midrule",
            *(" & ".join(row) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def as_csv(table: ReportTable) -> str:
    """Return the table as CSV, as it is shown, without marks."""
    return csv_text(
        [table.header, *([row.title, *(e.text for e in row.entries)] for row in table.rows)]
    )


def csv_of_mappings(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows with the same keys, which are the header, as CSV."""
    return csv_text([*map(list, rows[:1]), *(row.values() for row in rows)])


def _below(table: ReportTable) -> tuple[str, ...]:
    return (*table.notes, *table.differences)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _tex(text: str) -> str:
    return text.translate(LATEX_SPECIAL)
