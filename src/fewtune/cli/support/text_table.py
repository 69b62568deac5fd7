"""Tables as lines of a given width, in which no word is ever broken."""

import textwrap
import unicodedata
from collections.abc import Collection, Iterator, Sequence

Row = Sequence[str]
GAP = 1
LEAST_WRAP = 24  # a column of sentences gets no narrower than this


def table_lines(
    header: Row,
    rows: Sequence[Row],
    text: Collection[int],
    width: int,
    parts: Collection[int] = (),
) -> Iterator[tuple[str, bool]]:
    """Yield lines, and whether each is a header.

    Where the columns do not fit next to each other, the last column of text is wrapped between
    words. Where that is not enough, the table goes on below, under its first column again.

    Args:
        text: Columns of text, which are set to the left; numbers are set to the right.
        width: Of the screen, in characters.
        parts: Columns with which a table goes on below if it must.
    """
    columns = [list(column) for column in zip(header, *rows, strict=True)]
    last = max(text)
    spare = width - sum(map(_widest, columns)) - GAP * (len(columns) - 1)
    if spare < 0 < last and " " in "".join(columns[last]):
        columns[last] = _wrapped(columns[last], max(LEAST_WRAP, _widest(columns[last]) + spare))
    for number, block in enumerate(_blocks([*map(_widest, columns)], width, parts)):
        if number:
            yield "", False
        for index in range(len(rows) + 1):
            cells = [columns[column][index] for column in block]
            if number == 0 or any(cells[1:]):
                sides = [(_widest(columns[column]), column in text) for column in block]
                for line in _row(cells, sides):
                    yield line, index == 0


def _blocks(widths: Sequence[int], width: int, parts: Collection[int]) -> Iterator[list[int]]:
    """Yield the columns that stand next to each other, the first one always among them."""
    block = [0]
    parts = parts if sum(widths) + GAP * (len(widths) - 1) > width else ()
    for column in range(1, len(widths)):
        taken = sum(widths[c] + GAP for c in block)
        if len(block) > 1 and (column in parts or taken + widths[column] > width):
            yield block
            block = [0]
        block.append(column)
    yield block


def _wrapped(cells: Sequence[str], width: int) -> list[str]:
    return [
        "\n".join(textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False))
        for cell in cells
    ]


def _row(cells: Row, sides: Sequence[tuple[int, bool]]) -> Iterator[str]:
    """Yield the lines of a row, given width and side of each cell."""
    parts = [cell.split("\n") for cell in cells]
    for line in range(max(map(len, parts))):
        texts = [part[line] if line < len(part) else "" for part in parts]
        padded = [
            text + " " * (width - _width(text)) if left else " " * (width - _width(text)) + text
            for text, (width, left) in zip(texts, sides, strict=True)
        ]
        yield (" " * GAP).join(padded).rstrip()


def _widest(column: Sequence[str]) -> int:
    return max(_width(line) for cell in column for line in cell.split("\n"))


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: Chinese characters take two."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
