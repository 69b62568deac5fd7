"""Label tables: what every layout is read into, checked once and made into a `Task`."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fewtune.core.errors import DataError, did_you_mean
from fewtune.core.naming import counted
from fewtune.core.task import (
    DEFAULT_TEMPLATES,
    ClassSet,
    Example,
    ImageSource,
    PublishedDraw,
    Task,
)
from fewtune.data.file_names import SPLITS


@dataclass(frozen=True)
class LabelledRow:
    """One labelled image.

    Attributes:
        key: POSIX path relative to the root.
        where: Where it is named, for messages ("labels.csv line 3"); empty for folders.
    """

    split: str
    key: str
    class_name: str
    source: Path | ImageSource = field(compare=False, repr=False)
    size_bytes: int = 0
    where: str = ""


@dataclass(frozen=True)
class LabelTable:
    """All rows of a dataset.

    Attributes:
        layout: Name of the layout for users ("class folders").
        classes: Class names in label order, if the dataset lists them; listed classes may have no
            training images. Empty: the sorted class names of the rows.
    """

    layout: str
    rows: tuple[LabelledRow, ...]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    draws: tuple[PublishedDraw, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.classes or sort_names(row.class_name for row in self.rows)


class Layout(Protocol):
    """One way to lay out labelled images on disk; each is a module in `data/layouts/`."""

    name: str

    def detect(self, location: Path) -> bool:
        """Return whether `location` is laid out this way, without opening an image.

        Raises:
            DataError: A folder cannot be read.
        """

    def read(self, location: Path) -> LabelTable:
        """Return all rows.

        Raises:
            DataError: Something in the location is wrong.
        """


def plain(text: str) -> str:
    """Return `text` in Unicode form NFC, with escapes for bytes that are not UTF-8.

    Systems differ in how they store "é" in file names; draws and fingerprints must not.
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text).encode("utf-8", "backslashreplace").decode("utf-8")


def sort_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names, in numeric order if all are numbers, else in text order."""
    distinct = set(names)
    numeric = all(is_number(name) for name in distinct)
    return tuple(sorted(distinct, key=lambda name: (int(name) if numeric else 0, name)))


def is_number(name: str) -> bool:
    """Return whether a name is a label such as "0" or "12"."""
    return name.isascii() and name.isdigit() and len(name) <= 9


def to_task(
    table: LabelTable,
    name: str,
    *,
    templates: Sequence[str] | None = None,
    descriptions: Mapping[str, Sequence[str]] | None = None,
    licence: str = "",
    citation: str = "",
) -> Task:
    """Check the rows and return them as a task.

    Raises:
        DataError: No images, a class without training images next to classes with some (where the
            data does not list its classes), or an image listed in two ways.
    """
    rows, repeated = _unique(table.rows)
    trained = {row.class_name for row in rows if row.split == "train"}
    if not rows:
        raise DataError(
            f"'{name}' ({table.layout}) has no images.",
            hint="Put them in DIR/train/CLASS/, or in DIR/CLASS/ without splits.",
        )
    if trained and not table.classes:
        _refuse_untrained(rows, trained)
    names = table.names
    label = {name: index for index, name in enumerate(names)}
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for row in rows:
        splits[row.split].append(
            Example(row.key, label[row.class_name], row.source, row.size_bytes)
        )
    classes = ClassSet(
        names,
        tuple(templates or DEFAULT_TEMPLATES),
        tuple(tuple(descriptions.get(name, ())) for name in names) if descriptions else (),
    )
    return Task(
        name,
        classes,
        tuple(splits["train"]),
        tuple(splits["val"]),
        tuple(splits["test"]),
        licence,
        citation,
        notes=_notes(table, repeated, [name for name in names if name not in trained]),
        published=table.draws,
    )


def shown(items: Iterable[object], most: int = 3) -> str:
    """Return the first few items, and dots if there are more."""
    listed = list(map(str, items))
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")


def _notes(table: LabelTable, repeated: int, untrained: Sequence[str]) -> tuple[str, ...]:
    """Return what users should know about how the table became a task."""
    notes = [f"layout: {table.layout}", *table.notes]
    if repeated:
        notes.append(f"left out {counted(repeated, 'row')} that named an image again")
    if untrained and len(untrained) == len(table.names):
        notes.append("no training images: a test set for what was trained on other images")
    elif untrained:
        kinds = counted(len(untrained), "class")
        notes.append(f"{kinds} without training images: {shown(map(repr, untrained))}")
    return tuple(notes)


def _unique(rows: Sequence[LabelledRow]) -> tuple[list[LabelledRow], int]:
    """Return the rows without repetitions and their number; refuse contradictions."""
    by_key: dict[str, LabelledRow] = {}
    for row in rows:
        first = by_key.setdefault(row.key, row)
        if first.class_name != row.class_name or first.split != row.split:
            kind = "two classes" if first.class_name != row.class_name else "two splits"
            places = " and ".join(place for place in (first.where, row.where) if place)
            raise DataError(
                f"Image '{row.key}' is in {kind}{f' ({places})' if places else ''}.",
                hint="Keep one of the two.",
            )
    return list(by_key.values()), len(rows) - len(by_key)


def _refuse_untrained(rows: Sequence[LabelledRow], trained: set[str]) -> None:
    """Refuse a class that is only in other splits, most often a misspelt folder name."""
    for row in rows:
        name = row.class_name
        if name not in trained:
            raise DataError(
                f"Class {name!r} has images in the {row.split} split but none in the training "
                "split.",
                hint=f"{did_you_mean(name, trained)} Add training images of it or remove it.",
            )
