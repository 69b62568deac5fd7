"""Images named in a table: csv, tsv or jsonl with a column for the path and one for the label.

    labels.csv                                the location is the file itself
    DIR/metadata.csv, DIR/train/metadata.csv  Hugging Face `imagefolder` (also metadata.jsonl)

The first line of a csv or tsv names the columns: path, file, file_name, image or filename; label,
class, category or target; and, where the splits are not folders, split. Paths are relative to the
table, or absolute. Labels are names, or integers with the names in classnames.txt beside the table.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError, did_you_mean
from fewtune.data.label_table import SPLIT_ALIASES, LabelledRow, LabelTable, is_number, plain
from fewtune.data.scan import size_of, subfolders
from fewtune.data.text_files import (
    TABLE_SUFFIXES,
    Record,
    read_class_names,
    read_columns,
    records,
)

PATH_COLUMNS = ("path", "file", "file_name", "image", "filename")
LABEL_COLUMNS = ("label", "class", "category", "target")
NUMBERED_NOTE = (
    "classes have numbers for names, which prompts cannot use: put names in classnames.txt, one a "
    "line"
)


class Listing:
    """A csv, tsv or jsonl file."""

    name = "table file"

    def detect(self, location: Path) -> bool:
        """Return whether it is a file with the suffix of a table."""
        return location.is_file() and location.suffix.lower() in TABLE_SUFFIXES

    def read(self, location: Path) -> LabelTable:
        """Return the images that the file lists."""
        rows = _read(location, location.parent, "train")
        return _with_class_names(self.name, rows, location.parent)


class ImageFolder:
    """A folder with metadata.csv or metadata.jsonl, in it or in each of its split folders."""

    name = "imagefolder with metadata"

    def detect(self, location: Path) -> bool:
        """Return whether there is a metadata file that names files and labels."""
        return location.is_dir() and any(
            _first(PATH_COLUMNS, columns) and _first(LABEL_COLUMNS, columns)
            for columns in map(read_columns, _metadata_files(location))
        )

    def read(self, location: Path) -> LabelTable:
        """Return the images that the metadata files list."""
        rows: list[LabelledRow] = []
        for table in _metadata_files(location):
            split = "" if table.parent == location else SPLIT_ALIASES[table.parent.name.lower()]
            rows += _read(table, location, split)
        return _with_class_names(self.name, rows, location)


def _metadata_files(location: Path) -> list[Path]:
    folders = [location, *(f for f in subfolders(location) if f.name.lower() in SPLIT_ALIASES)]
    files = (folder / f"metadata{suffix}" for folder in folders for suffix in TABLE_SUFFIXES)
    return [file for file in files if file.is_file()]


def _read(table: Path, root: Path, split: str) -> list[LabelledRow]:
    """Return the rows of a table; `split` "" means: the first folder of the path may name it."""
    rows: list[LabelledRow] = []
    missing: list[str] = []
    prefix = table.parent.relative_to(root).as_posix()
    reader: _Reader | None = None
    for record in records(table):
        reader = reader or _Reader.of(table, list(record.values))
        path, label, of_row = reader.cells(record)
        source = table.parent / path
        key = _key(path, prefix, root)
        where = f"{table.name} line {record.line}"
        size_bytes = size_of(source)
        if size_bytes is None:
            missing.append(f"'{path}' ({where})")
        rows.append(
            LabelledRow(
                of_row or split or SPLIT_ALIASES.get(key.split("/")[0].lower(), "train"),
                plain(key),
                label,
                source,
                size_bytes or 0,
                where,
            )
        )
    if missing:
        raise DataError(
            f"{len(missing)} of {len(rows)} images listed in {table} do not exist: {missing[0]}"
            f"{', ...' if len(missing) > 1 else ''}.",
            hint=f"Paths must be absolute or relative to {table.parent}.",
        )
    if not rows:
        raise DataError(
            f"{table} lists no images.",
            hint="The first line of a csv names the columns (path,label); each further line is "
            "one image.",
        )
    return rows


def _key(path: str, prefix: str, root: Path) -> str:
    """Return the path relative to the root; one that leads out of it stays as it is."""
    key = posixpath.normpath(posixpath.join(prefix, path))
    return posixpath.normpath(key.removeprefix(f"{root.as_posix()}/"))


@dataclass(frozen=True)
class _Reader:
    """Which columns of a table hold what."""

    table: Path
    path: str
    label: str

    @classmethod
    def of(cls, table: Path, columns: Sequence[str]) -> _Reader:
        path, label = _first(PATH_COLUMNS, columns), _first(LABEL_COLUMNS, columns)
        if path is None or label is None:
            missing, options = ("path", PATH_COLUMNS) if path is None else ("label", LABEL_COLUMNS)
            raise DataError(
                f"{table} has no column for the {missing}: found "
                f"{', '.join(repr(column) for column in columns[:6]) or 'nothing'}.",
                hint=f"The first line must name the columns; a {missing} column is called "
                f"{', '.join(options[:-1])} or {options[-1]}.",
            )
        return cls(table, path, label)

    def cells(self, record: Record) -> tuple[str, str, str]:
        """Return path, class name and split ("" if there is none) of a row."""
        where = f"{self.table} line {record.line}"
        path = record.values.get(self.path)
        if not isinstance(path, str) or not path.strip():
            raise DataError(f"{where} has no {self.path}: found {path!r}.")
        split = record.values.get("split")
        if split is None or split == "":
            return path.strip(), _label(record.values.get(self.label), where), ""
        alias = SPLIT_ALIASES.get(split.strip().lower()) if isinstance(split, str) else None
        if alias is None:
            raise DataError(
                f"{where} has split {split!r}.", hint=did_you_mean(str(split), SPLIT_ALIASES)
            )
        return path.strip(), _label(record.values.get(self.label), where), alias


def _label(value: Any, where: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where} has label {value!r}, expected the name or number of a class.")
    name = plain(value.strip())
    if name.startswith("-") and is_number(name[1:]):
        raise DataError(
            f"{where} has label {name}, but labels start at 0.", hint="Remove unlabelled rows."
        )
    return name


def _with_class_names(layout: str, rows: list[LabelledRow], folder: Path) -> LabelTable:
    """Give numbered classes the names in classnames.txt, where there is one."""
    if not all(is_number(row.class_name) for row in rows):
        return LabelTable(layout, tuple(rows))
    names_file = folder / "classnames.txt"
    if not names_file.is_file():
        return LabelTable(layout, tuple(rows), notes=(NUMBERED_NOTE,))
    names = read_class_names(names_file)
    return LabelTable(layout, tuple(name_row(row, names, names_file) for row in rows), names)


def name_row(row: LabelledRow, names: Sequence[str], names_file: Path) -> LabelledRow:
    """Return a row with a number for a class as one with the class's name.

    Raises:
        DataError: The number is out of range.
    """
    label = int(row.class_name)
    if label >= len(names):
        raise DataError(
            f"{row.where} has label {label}, but labels run from 0 to {len(names) - 1} "
            f"({names_file.name} has {len(names)} names).",
            hint="Correct the label or add the missing class names.",
        )
    return LabelledRow(row.split, row.key, names[label], row.source, row.size_bytes, row.where)


def _first(options: Sequence[str], columns: Sequence[str]) -> str | None:
    return next((option for option in options if option in columns), None)
