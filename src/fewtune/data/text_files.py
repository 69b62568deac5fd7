"""Text files next to images: tables, class names, descriptions."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError, did_you_mean
from fewtune.core.files import load_json
from fewtune.data.label_table import plain

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")


@dataclass(frozen=True)
class Record:
    """One row of a table file: its line number, counted from 1, and its values by column name."""

    line: int
    values: dict[str, Any]


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without a byte order mark, with Unix line ends.

    Raises:
        DataError: The file cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start}).",
            hint="Save it as 'CSV UTF-8' or convert it with iconv.",
        ) from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, without an empty line after the last line end."""
    return read_text(path).removesuffix("\n").split("\n")


def numbered_lines(path: Path) -> list[tuple[str, str]]:
    """Return (place for messages, line) of the lines that are not empty, without outer space."""
    lines = enumerate(read_lines(path), start=1)
    return [(f"{path.name} line {n}", line.strip()) for n, line in lines if line.strip()]


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the class names in a file with one name per line, in label order.

    Raises:
        DataError: A line is empty.
    """
    names = tuple(plain(line.strip()) for line in read_lines(path))
    if "" in names:
        raise DataError(
            f"{path} has an empty line {names.index('') + 1}; each line is the name of a class."
        )
    return names


def read_columns(path: Path) -> list[str]:
    """Return the column names of a table file, in lower case; [] if it cannot be read."""
    try:
        return next((list(record.values) for record in records(path)), [])
    except DataError:
        return []


def records(path: Path) -> Iterator[Record]:
    """Yield the rows of a csv, tsv or jsonl file; column names are in lower case.

    Raises:
        DataError: The file is malformed; the message names the line.
    """
    text = read_text(path)
    if path.suffix.lower() == ".jsonl":
        return _json_records(path, text)
    return _csv_records(path, text)


def parse_json(text: str, where: str) -> Any:
    """Return the JSON value of a text.

    Raises:
        DataError: It is not JSON; the message begins with `where`.
    """
    try:
        return load_json(text)
    except ValueError as error:
        raise DataError(f"{where} is not valid JSON: {error}.") from error


def read_descriptions(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Return full prompts by class name from a JSON object or a csv with columns class and text.

    Case, "_" and "-" make no difference to a class name.

    Raises:
        DataError: The file is malformed or names a class that is not in `names`.
    """
    pairs = _json_texts(path) if path.suffix.lower() == ".json" else _csv_texts(path)
    known = {fold_name(name): name for name in names}
    texts: dict[str, list[str]] = {}
    for given, text in pairs:
        name = given if given in names else known.get(fold_name(given))
        if name is None:
            raise DataError(
                f"{path} describes class {given!r}, which the data does not have.",
                hint=did_you_mean(given, names),
            )
        if not text.strip():
            raise DataError(f"{path} has an empty description for class {given!r}.")
        texts.setdefault(name, []).append(text.strip())
    return texts


def _csv_records(path: Path, text: str) -> Iterator[Record]:
    first = text.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    if delimiter == "," and "," not in first and ";" in first:
        delimiter = ";"  # written by spreadsheets in countries with decimal commas
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        columns = [plain(column.strip().lower()) for column in next(reader, [])]
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if len(values) < len(columns):
                raise DataError(
                    f"{path} line {reader.line_num} has {len(values)} columns, expected "
                    f"{len(columns)} ({', '.join(columns)})."
                )
            yield Record(reader.line_num, dict(zip(columns, values, strict=False)))
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num} is not valid csv: {error}.") from error


def _json_records(path: Path, text: str) -> Iterator[Record]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        value = parse_json(content, f"{path} line {line}")
        if not isinstance(value, dict):
            raise DataError(
                f'{path} line {line} is not a JSON object such as {{"path": "a.jpg", '
                '"label": "cat"}.'
            )
        yield Record(line, {plain(key.strip().lower()): entry for key, entry in value.items()})


def _json_texts(path: Path) -> Iterator[tuple[str, str]]:
    value = parse_json(read_text(path), str(path))
    shape = f'{path} must be a JSON object such as {{"cat": ["a photo of a cat, a small pet."]}}'
    if not isinstance(value, dict):
        raise DataError(f"{shape}, found a {type(value).__name__}.")
    for name, entry in value.items():
        texts = [entry] if isinstance(entry, str) else entry
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{shape}; the entry of {name!r} is not a list of texts.")
        yield from ((plain(name), plain(text)) for text in texts)


def _csv_texts(path: Path) -> Iterator[tuple[str, str]]:
    for record in records(path):
        name, text = record.values.get("class"), record.values.get("text")
        if not isinstance(name, str) or not isinstance(text, str):
            raise DataError(
                f"{path} line {record.line}: expected the columns 'class' and 'text', found "
                f"{', '.join(record.values)}."
            )
        yield plain(name.strip()), plain(text)


def fold_name(name: str) -> str:
    """Return a class name without what sources write differently: case, "_" and "-"."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
