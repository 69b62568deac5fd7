"""Images in folders named after their classes, with or without folders for the splits.

    DIR/cat/1.jpg                  class folders
    DIR/train/cat/1.jpg            split folders (train, and val and test where there are any)

A class folder may hold folders of its own. Class names are folder names, sorted.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.data.label_table import (
    SPLIT_ALIASES,
    LabelledRow,
    LabelTable,
    counted,
    ignored_note,
    plain,
)
from fewtune.data.scan import holds_images, images_below, subfolders


class SplitFolders:
    """DIR/{train,val,test}/CLASS/IMAGE."""

    name = "split folders"

    def detect(self, location: Path) -> bool:
        """Return whether there is a folder named as a split that has folders but no images."""
        return location.is_dir() and any(
            subfolders(folder) and not holds_images(folder) for folder in _split_folders(location)
        )

    def read(self, location: Path) -> LabelTable:
        """Return the images of all split folders."""
        rows: list[LabelledRow] = []
        ignored: Counter[str] = Counter()
        notes: list[str] = []
        seen: dict[str, Path] = {}
        for folder in _split_folders(location):
            split = SPLIT_ALIASES[folder.name.lower()]
            if split in seen:
                raise DataError(
                    f"{location} has two {split} folders: '{seen[split].name}' and "
                    f"'{folder.name}'.",
                    hint="Merge them or remove one.",
                )
            seen[split] = folder
            if not subfolders(folder):
                count = len(images_below(folder, Counter()))
                notes.append(
                    f"ignored {counted(count, 'image')} in {folder.name}/, outside class folders"
                )
                continue
            rows += _class_rows(folder, split, f"{folder.name}/", ignored)
        beside = [f.name for f in subfolders(location) if f not in _split_folders(location)]
        if beside:
            notes.append(f"ignored folders beside the splits: {', '.join(beside[:5])}")
        return LabelTable(self.name, tuple(rows), notes=(*notes, *ignored_note(ignored)))


class ClassFolders:
    """DIR/CLASS/IMAGE."""

    name = "class folders"

    def detect(self, location: Path) -> bool:
        """Return whether there is a subfolder."""
        return location.is_dir() and bool(subfolders(location))

    def read(self, location: Path) -> LabelTable:
        """Return the images of all class folders."""
        ignored: Counter[str] = Counter()
        rows = _class_rows(location, "train", "", ignored)
        notes: tuple[str, ...] = ignored_note(ignored)
        if holds_images(location):
            notes = ("ignored images outside class folders", *notes)
        return LabelTable(self.name, tuple(rows), notes=notes)


def _split_folders(location: Path) -> list[Path]:
    return [folder for folder in subfolders(location) if folder.name.lower() in SPLIT_ALIASES]


def _class_rows(folder: Path, split: str, prefix: str, ignored: Counter[str]) -> list[LabelledRow]:
    """Return the rows of all class folders in `folder`."""
    rows = []
    for class_folder in subfolders(folder):
        others: Counter[str] = Counter()
        found = images_below(class_folder, others)
        if not found:
            kinds = f" ({ignored_note(others)[0]})" if others else ""
            raise DataError(
                f"Class folder '{class_folder}' holds no images{kinds}.",
                hint="Add images to it or remove the folder.",
            )
        ignored.update(others)
        name = plain(class_folder.name)
        for file in found:
            key = plain(f"{prefix}{class_folder.name}/{file.relative}")
            rows.append(LabelledRow(split, key, name, file.path, file.size_bytes))
    return rows
