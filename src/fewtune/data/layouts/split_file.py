"""Split files: CoOp's format next to one's own images.

    DIR/split_NAME.json      {"train": [["cat/1.jpg", 0, "cat"], ...], "val": [...], "test": [...]}
    DIR/cat/1.jpg            the images, in DIR or in one of its folders

CoOp's splits have this format, and those of many medical datasets. Each entry is a path, a label
from 0 up, and a class name. The order of entries is kept, since the papers' draws depend on it.
"""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError
from fewtune.data.file_names import SPLITS
from fewtune.data.label_table import LabelledRow, LabelTable, plain
from fewtune.data.scan import entries, size_of, subfolders
from fewtune.data.text_files import parse_json, read_text


class SplitFile:
    """DIR/split_NAME.json and images."""

    name = "split file (json)"

    def detect(self, location: Path) -> bool:
        """Return whether there is a file split_*.json."""
        return location.is_dir() and bool(_split_files(location))

    def read(self, location: Path) -> LabelTable:
        """Return the images that the split file lists."""
        files = _split_files(location)
        if len(files) > 1:
            named = ", ".join(f"'{file.name}'" for file in files[:3])
            raise DataError(
                f"{location} holds {len(files)} split files: {named}.",
                hint="Keep the one to use; move the others away.",
            )
        listed = read_split_json(files[0])
        folders = (location, *subfolders(location))
        # One image shows which folder the paths are relative to.
        found = [f for f in folders if all(size_of(f / e.path) is not None for e in listed[:1])]
        folder = found[0] if found else location
        rows = locate(listed, folder, files[0])
        return LabelTable(self.name, tuple(rows), class_names(listed, files[0]))


def _split_files(location: Path) -> list[Path]:
    return [
        Path(entry.path)
        for entry in entries(location)
        if entry.name.startswith("split_") and entry.name.endswith(".json")
    ]


@dataclass(frozen=True)
class SplitEntry:
    """One line of a split file.

    Attributes:
        path: POSIX path relative to the folder of the images.
        where: Where it stands, for messages ("split_zhou_DTD.json, train entry 3").
    """

    split: str
    path: str
    label: int
    name: str
    where: str


def read_split_json(path: Path) -> tuple[SplitEntry, ...]:
    """Return the entries of a split file, in its order.

    Raises:
        DataError: The file has another format, a path leads out of its folder, a label has two
            names or a name two labels, or a label is missing.
    """
    value = parse_json(read_text(path), str(path))
    if not isinstance(value, dict) or "train" not in value:
        raise DataError(
            f"{path} is not a split file: it has no list of training images.",
            hint='It holds {"train": [["cat/1.jpg", 0, "cat"], ...], "val": [...], "test": [...]}.',
        )
    entries = []
    for split in SPLITS:
        items = value.get(split, [])
        if not isinstance(items, list):
            raise DataError(f"{path}: '{split}' is not a list of images.")
        for number, item in enumerate(items, start=1):
            entries.append(_entry(item, split, f"{path.name}, {split} entry {number}"))
    class_names(entries, path)
    return tuple(entries)


def class_names(entries: Iterable[SplitEntry], path: Path) -> tuple[str, ...]:
    """Return the names of the labels 0, 1, ...

    Raises:
        DataError: A label has two names, a name two labels, or a label is missing.
    """
    names: dict[int, str] = {}
    labels: dict[str, int] = {}
    for entry in entries:
        name = names.setdefault(entry.label, entry.name)
        label = labels.setdefault(entry.name, entry.label)
        if name != entry.name:
            raise DataError(f"{path}: label {entry.label} is both {name!r} and {entry.name!r}.")
        if label != entry.label:
            raise DataError(f"{path}: class {name!r} has both label {label} and {entry.label}.")
    missing = next((label for label in range(len(names)) if label not in names), None)
    if missing is not None:
        raise DataError(
            f"{path} has no image with label {missing}, but some up to {max(names)}.",
            hint="Labels must run from 0 without a gap.",
        )
    return tuple(names[label] for label in range(len(names)))


def inside(path: str, where: str) -> str:
    """Return a path named in a file, in POSIX form without "." and "..".

    Raises:
        DataError: The path is empty, absolute, not valid, or leads out of its folder.
    """
    key = posixpath.normpath(path.replace("\\", "/"))
    outside = key in (".", "..") or key.startswith(("/", "../")) or key[1:3] == ":/"
    if outside or "\0" in key:
        raise DataError(
            f"{where} leads out of the folder or to no file: {path!r}.",
            hint="Paths in lists are relative to the folder of the images.",
        )
    return key


def locate(entries: Iterable[SplitEntry], folder: Path, file: Path) -> list[LabelledRow]:
    """Return the entries as rows; their images are below `folder`.

    Raises:
        DataError: Images are missing; the first is named.
    """
    rows: list[LabelledRow] = []
    missing: list[str] = []
    for entry in entries:
        key, source = plain(entry.path), folder / entry.path
        size = size_of(source)
        if size is None:
            missing.append(key)
        rows.append(LabelledRow(entry.split, key, entry.name, source, size or 0, entry.where))
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(rows):,} images listed in {file} do not exist in {folder}: "
            f"'{missing[0]}'{', ...' if len(missing) > 1 else ''}.",
            hint="Unpack all images there; `fewtune data info NAME` says where to get them.",
        )
    return rows


def _entry(item: Any, split: str, where: str) -> SplitEntry:
    if not isinstance(item, list) or [type(part) for part in item] != [str, int, str]:
        raise DataError(
            f"{where} is {str(item)[:60]!r}, expected [path, label, class name] such as "
            '["cat/1.jpg", 0, "cat"].'
        )
    path, label, name = item
    if label < 0 or not name.strip():
        raise DataError(f"{where} has label {label} and class {name!r}; neither may be missing.")
    return SplitEntry(split, inside(path, where), label, plain(name.strip()), where)
