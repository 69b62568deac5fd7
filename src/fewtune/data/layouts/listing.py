"""Tables of images: csv, tsv or jsonl with a column for the path and one for the label.

    labels.csv                                the location is the file itself
    DIR/metadata.csv, DIR/train/metadata.csv  Hugging Face `imagefolder` (also metadata.jsonl)

The first line of a csv or tsv names the columns: path, file, file_name, image or filename; label,
class, category or target; and split, unless the paths have folders for the splits. Paths are
relative to the table, or absolute. Labels are names, or integers with names in classnames.txt.
"""

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError, did_you_mean
from fewtune.core.naming import counted
from fewtune.data.class_names import whole_labels
from fewtune.data.file_names import SPLIT_ALIASES, split_of, splits_in
from fewtune.data.label_table import LabelledRow, LabelTable, plain
from fewtune.data.scan import Skipped, images_below, size_of, subfolders
from fewtune.data.text_files import TABLE_SUFFIXES, Record, read_columns, records

PATH_COLUMNS = ("path", "file", "file_name", "image", "filename")
LABEL_COLUMNS = ("label", "class", "category", "target")

_NEGATIVE = re.compile(r"-\d+(\.0*)?")


class Listing:
    """A csv, tsv or jsonl file."""

    name = "table file"

    def detect(self, location: Path) -> bool:
        """Return whether it is a file with a table suffix."""
        return location.is_file() and location.suffix.lower() in TABLE_SUFFIXES

    def read(self, location: Path) -> LabelTable:
        """Return the images that the file lists."""
        rows, notes = whole_labels(_read(location, location.parent))
        return LabelTable(self.name, tuple(rows), notes=notes)


class ImageFolder:
    """A folder with metadata.csv or metadata.jsonl, in it or in each of its split folders."""

    name = "imagefolder with metadata"

    def detect(self, location: Path) -> bool:
        """Return whether there is a metadata file with columns for paths and labels."""
        return location.is_dir() and any(
            _first(PATH_COLUMNS, columns) and _first(LABEL_COLUMNS, columns)
            for columns in map(read_columns, _metadata_files(location))
        )

    def read(self, location: Path) -> LabelTable:
        """Return the images that the metadata files list."""
        listed: list[LabelledRow] = []
        for table in _metadata_files(location):
            split = "" if table.parent == location else split_of(table.parent.name)
            listed += _read(table, location, split)
        rows, notes = whole_labels(listed)
        return LabelTable(self.name, tuple(rows), notes=(*notes, *_unlisted(location, rows)))


def _unlisted(location: Path, rows: Sequence[LabelledRow]) -> Iterator[str]:
    """Yield a note for each split folder whose images no metadata file lists."""
    first_folders = {row.key.partition("/")[0] for row in rows}
    for folder in subfolders(location):
        if split_of(folder.name) and plain(folder.name) not in first_folders:
            count = len(images_below(folder, Skipped()))
            if count:
                number = counted(count, "image")
                yield f"ignored {number} in {plain(folder.name)}/, which no metadata file lists"


def _metadata_files(location: Path) -> list[Path]:
    folders = [location, *(folder for folder in subfolders(location) if split_of(folder.name))]
    files = (folder / f"metadata{suffix}" for folder in folders for suffix in TABLE_SUFFIXES)
    return [file for file in files if file.is_file()]


def _read(table: Path, root: Path, split: str = "") -> list[LabelledRow]:
    """Return the rows of a table.

    Args:
        split: Split of rows without one; "" to read it from the folders in their paths.
    """
    rows: list[LabelledRow] = []
    missing: list[str] = []
    prefix = table.parent.relative_to(root).as_posix()
    columns: tuple[str, str] | None = None
    for record in records(table):
        columns = columns or _columns(table, list(record.values))
        path, label, of_row = _cells(table, record, *columns)
        source = table.parent / path
        where = f"{table.name} line {record.line}"
        size = size_of(source)
        if size is None:
            missing.append(f"'{path}' ({where})")
        key = plain(_key(path, prefix, root))
        rows.append(LabelledRow(of_row or split, key, label, source, size or 0, where))
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
    in_paths = splits_in([row.key for row in rows], [row.class_name for row in rows])
    return [
        row if row.split else replace(row, split=said or "train")
        for row, said in zip(rows, in_paths, strict=True)
    ]


def _key(path: str, prefix: str, root: Path) -> str:
    """Return the path relative to the root, or unchanged if it leads out of it."""
    key = posixpath.normpath(posixpath.join(prefix, path))
    return posixpath.normpath(key.removeprefix(f"{root.as_posix()}/"))


def _columns(table: Path, columns: Sequence[str]) -> tuple[str, str]:
    """Return the names of the columns for the path and the label."""
    path, label = _first(PATH_COLUMNS, columns), _first(LABEL_COLUMNS, columns)
    if path and label:
        return path, label
    missing, options = ("label", LABEL_COLUMNS) if path else ("path", PATH_COLUMNS)
    raise DataError(
        f"{table} has no column for the {missing}: found "
        f"{', '.join(repr(column) for column in columns[:6]) or 'nothing'}.",
        hint=f"The first line must name the columns; a {missing} column is called "
        f"{', '.join(options[:-1])} or {options[-1]}.",
    )


def _cells(table: Path, record: Record, path_name: str, label_name: str) -> tuple[str, str, str]:
    """Return path, class name and split ("" for none) of a row."""
    where = f"{table} line {record.line}"
    path, split = record.values.get(path_name), record.values.get("split")
    if not isinstance(path, str) or not path.strip():
        raise DataError(f"{where} has no {path_name}: found {path!r}.")
    alias = split_of(str(split).strip())
    if not alias and split not in (None, ""):
        raise DataError(
            f"{where} has split {split!r}.", hint=did_you_mean(str(split), SPLIT_ALIASES)
        )
    return path.strip(), _label(record.values.get(label_name), where), alias


def _label(value: Any, where: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where} has label {value!r}, expected the name or number of a class.")
    name = plain(value.strip())
    if _NEGATIVE.fullmatch(name):
        raise DataError(
            f"{where} has label {name}, but labels start at 0.", hint="Remove unlabelled rows."
        )
    return name


def _first(options: Sequence[str], columns: Sequence[str]) -> str | None:
    return next((option for option in options if option in columns), None)
