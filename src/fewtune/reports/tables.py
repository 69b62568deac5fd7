"""A table that is the same on the page, as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fewtune.reports.summary import percent

Mark = Literal["", "best", "second"]
HOLE = "–"
DIFFERS = " ≠"


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
        name: Part of file names.
        header: Column titles; the first is that of the row titles.
        notes: What stands below it.
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


def ranked(values: Sequence[float | None], show: Callable[[float], str]) -> list[TableCell]:
    """Return the values with the best and the second marked, by what is shown of them."""
    texts = [None if value is None else show(value) for value in values]
    ranks = sorted({_number(text) for text in texts if text is not None}, reverse=True)
    marks: dict[str, Mark] = {}
    for rank, mark in zip(ranks[:2], ("best", "second"), strict=False):
        marks |= {text: mark for text in texts if text and _number(text) == rank}  # type: ignore[misc]
    return [TableCell(HOLE) if t is None else TableCell(t, marks.get(t, "")) for t in texts]


def with_spread(means: Sequence[float | None], spreads: Sequence[float | None]) -> list[TableCell]:
    """Return means of shares in percent, ranked, each with its deviation where it has one."""
    return [
        entry if spread is None else replace(entry, text=f"{entry.text} ± {percent(spread)}")
        for entry, spread in zip(ranked(means, percent), spreads, strict=True)
    ]


def _number(text: str) -> float:
    return float(text.replace("−", "-"))


def markdown(table: ReportTable) -> str:
    """Return the table as GitHub Markdown: best bold, second in italics."""
    styles = {"": "{}", "best": "**{}**", "second": "*{}*"}
    lines = [
        f"### {table.title}",
        "",
        f"| {' | '.join(map(_pipe, table.header))} |",
        f"| --- |{' ---: |' * (len(table.header) - 1)}",
        *(
            f"| {_pipe(row.title)} | "
            f"{' | '.join(styles[e.mark].format(_pipe(e.text)) for e in row.entries)} |"
            for row in table.rows
        ),
        "",
        *_below(table),
    ]
    return "\n".join(lines) + "\n"


def latex(table: ReportTable) -> str:
    """Return the table as LaTeX with booktabs: best bold, second underlined."""
    styles = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}
    rows = [
        " & ".join([_tex(row.title), *(styles[e.mark].format(_tex(e.text)) for e in row.entries)])
        + r" \\"
        for row in table.rows
    ]
    above = " ".join([f"{table.title}.", *_below(table)])
    return "\n".join(
        [
            f"% {' '.join(above.split())}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            " & ".join(map(_tex, table.header)) + r" \\",
            r"\midrule",
            *rows,
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


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _below(table: ReportTable) -> tuple[str, ...]:
    return (*table.notes, *table.differences)


def _pipe(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _tex(text: str) -> str:
    special = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "±": r"$\pm$"}
    special |= {"×": r"$\times$", "−": "$-$", "–": "--", "~": r"\textasciitilde{}"}
    special |= {"≠": r"$\neq$", "→": r"$\to$", "†": r"$\dagger$"}
    special |= {"{": r"\{", "}": r"\}", "\\": r"\textbackslash{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(character, character) for character in text)
