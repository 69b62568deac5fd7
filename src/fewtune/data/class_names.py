"""Class names from classnames.txt next to the images or their table.

Either one name per line, in label order; where labels are not numbers, in the order of the sorted
labels or class folders. Or lines of a label, a tab or a comma, and a name, in any order.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.core.naming import counted
from fewtune.data.label_table import (
    LabelledRow,
    LabelTable,
    is_number,
    plain,
    shown,
    sort_names,
)
from fewtune.data.prompt_words import fold
from fewtune.data.text_files import read_class_names

FILE = "classnames.txt"

_PAIR = re.compile(r"([^\t]*)\t(.*)|([^,]*),(.*)")
_WHOLE = re.compile(r"(-?\d+)\.0*")


def with_class_names(table: LabelTable, folder: Path) -> LabelTable:
    """Return the table with the names from the folder's classnames.txt, and a note on them.

    Raises:
        DataError: The file does not name each class once.
    """
    file = folder / FILE
    if not file.is_file():
        return table
    lines = read_class_names(file)
    labels = table.names
    classes = table.classes
    pairs = _pairs(lines)
    if pairs is not None and not pairs.keys().isdisjoint(labels):
        names = _of_labels(labels, pairs, file)
        classes = tuple(names[label] for label in classes)
    elif all(map(is_number, labels)):
        names = _of_numbers(table.rows, lines, file)
        classes = lines
    elif {fold(label) for label in labels} <= {fold(line) for line in lines}:
        return _noted(table, f"{FILE} lists the names that the classes have")
    elif len(lines) == len(labels):
        names = dict(zip(labels, lines, strict=True))
        classes = tuple(names[label] for label in classes)
    else:
        raise DataError(
            f"{file} has {counted(len(lines), 'name')}, but there are {len(labels)} classes: "
            f"{shown(labels)}.",
            hint="Write one name per line in the order of the sorted classes, or lines "
            "'label<TAB>name'; or remove the file.",
        )
    name, count = Counter(classes or names.values()).most_common(1)[0]
    if count > 1:
        raise DataError(
            f"{file} gives the name {name!r} to two classes.",
            hint="Give each class a name of its own, or give its images one label.",
        )
    rows = tuple(replace(row, class_name=names[row.class_name]) for row in table.rows)
    pairs_shown = shown(f"{label} = {name}" for label, name in names.items())
    return _noted(replace(table, rows=rows, classes=classes), f"names from {FILE}: {pairs_shown}")


def whole_labels(rows: Sequence[LabelledRow]) -> tuple[list[LabelledRow], tuple[str, ...]]:
    """Return the rows with labels 0.0, 1.0, ... as 0, 1, ..., and a note if there were any.

    Programs write integers like this if a label is missing in the column.
    """
    whole = {name: _WHOLE.fullmatch(name) for name in {row.class_name for row in rows}}
    if not any(whole.values()) or not all(found or is_number(n) for n, found in whole.items()):
        return list(rows), ()
    names = {name: found[1] if found else name for name, found in whole.items()}
    note = "labels are whole numbers with a decimal point: 1.0 is read as 1"
    return [replace(row, class_name=names[row.class_name]) for row in rows], (note,)


def _noted(table: LabelTable, note: str) -> LabelTable:
    return replace(table, notes=(*table.notes, note))


def _pairs(lines: Sequence[str]) -> dict[str, str] | None:
    """Return {label: name} if each line has a tab, or each a comma; else None."""
    found = [_PAIR.fullmatch(line) for line in lines]
    parts = [[part.strip() for part in m.groups() if part is not None] for m in found if m]
    if len(parts) < len(lines) or not all(label and name for label, name in parts):
        return None
    return {plain(label): plain(name) for label, name in parts}


def _of_labels(labels: Sequence[str], pairs: Mapping[str, str], file: Path) -> dict[str, str]:
    missing = next((label for label in labels if label not in pairs), None)
    if missing is not None:
        raise DataError(
            f"{file} has no name for label {missing!r}.", hint=f"Add a line '{missing}<TAB>name'."
        )
    return {label: pairs[label] for label in labels}


def _of_numbers(rows: Sequence[LabelledRow], lines: Sequence[str], file: Path) -> dict[str, str]:
    """Return the name of each number; labels from 1 to the number of names start at line 1."""
    numbers = {int(row.class_name) for row in rows}
    first = 1 if min(numbers) > 0 and max(numbers) == len(lines) else 0
    for row in rows:
        if int(row.class_name) - first >= len(lines):
            raise DataError(
                f"{row.where or row.key} has label {row.class_name}, but labels run from 0 to "
                f"{len(lines) - 1} ({FILE} has {len(lines)} names).",
                hint="Correct the label or add the missing class names.",
            )
    return {
        label: lines[int(label) - first] for label in sort_names(row.class_name for row in rows)
    }
