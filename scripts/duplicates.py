"""Logic that is written twice: runs of equal lines in the files below some folders.

    python scripts/duplicates.py src/fewtune --lines 8 --accepted 2

Blank lines, comments, docstrings, imports and the headers of functions do not count. The number of
accepted duplicates can only go down: one more is an error, and so is one less until it is lowered.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

Line = tuple[Path, int, str]  # file, line number from 1, text without its indentation


def code_lines(path: Path) -> list[Line]:
    """Return the lines of a file that count."""
    text = path.read_text(encoding="utf-8")
    passed = set(
        number for node in ast.walk(ast.parse(text)) for number in _lines_that_do_not_count(node)
    )
    return [
        (path, number, line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if number not in passed and line.strip() and not line.lstrip().startswith("#")
    ]


def _lines_that_do_not_count(node: ast.AST) -> Iterator[int]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from range(node.lineno, node.body[0].lineno)


def duplicates(files: list[list[Line]], size: int) -> list[list[list[Line]]]:
    """Return each run of at least `size` equal lines as the places that it stands at."""
    places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for index, lines in enumerate(files):
        for start in range(len(lines) - size + 1):
            window = tuple(text for _, _, text in lines[start : start + size])
            places[window].append((index, start))
    repeated = {tuple(at) for at in places.values() if len(at) > 1}
    found = []
    for at in sorted(repeated):
        if tuple((index, start - 1) for index, start in at) in repeated:
            continue  # the run began a line earlier
        length = size
        while tuple((index, start + length - size + 1) for index, start in at) in repeated:
            length += 1
        found.append([files[index][start : start + length] for index, start in at])
    return found


def main() -> int:
    """Print the duplicates and return 0 if there are as many as are accepted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--lines", type=int, default=8)
    parser.add_argument("--accepted", type=int, default=0)
    options = parser.parse_args()
    paths = sorted(path for folder in options.folders for path in folder.rglob("*.py"))
    found = duplicates([code_lines(path) for path in paths], options.lines)
    if len(found) == options.accepted:
        return 0
    for run in found:
        print(f"{len(run[0])} lines:", *(f"{lines[0][0]}:{lines[0][1]}" for lines in run))
    verb = "merge them" if len(found) > options.accepted else "lower --accepted in scripts/check"
    print(f"{len(found)} duplicates, {options.accepted} accepted: {verb}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
