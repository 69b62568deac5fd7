"""Read the fenced blocks of a Markdown page, and print the one that CI runs as the test command.

`python scripts/markdown_blocks.py README.md pytest` prints the only ```bash block of README.md
that contains "pytest", so that what CI runs is what the page tells people to type.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]*?) -->\n\s*)?"
    r"^(?P<ticks>```+)(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=ticks)[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: What stands after the opening fence, "" if nothing does.
        code: The lines between the fences.
        line: Line number of the opening fence, from 1.
        not_run: The reason in a `<!-- not run: REASON -->` comment right before the fence, or "".
    """

    language: str
    code: str
    line: int
    not_run: str = ""


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a Markdown text, in order."""
    return [
        Block(
            language=match["language"],
            code=match["code"],
            line=text.count("\n", 0, match.start("ticks")) + 1,
            not_run=match["reason"] or "",
        )
        for match in FENCE.finditer(text)
    ]


def the_block(page: Path, word: str) -> str:
    """Return the code of the only bash block of `page` that contains `word`.

    Raises:
        SystemExit: There is no such block, or more than one.
    """
    found = [
        block
        for block in blocks(page.read_text(encoding="utf-8"))
        if block.language == "bash" and word in block.code
    ]
    if len(found) != 1:
        raise SystemExit(f"{page} has {len(found)} bash blocks with {word!r}; it must have one.")
    return found[0].code


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: markdown_blocks.py PAGE WORD")
    print(the_block(Path(sys.argv[1]), sys.argv[2]), end="")
