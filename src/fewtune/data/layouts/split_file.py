"""Split files: CoOp's format next to one's own images.

    DIR/split_NAME.json      {"train": [["cat/1.jpg", 0, "cat"], ...], "val": [...], "test": [...]}
    DIR/cat/1.jpg            the images, in DIR or in one of its folders

CoOp's splits have this format, and those of many medical datasets.
"""

from __future__ import annotations

from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelTable
from fewtune.data.scan import entries, size_of, subfolders
from fewtune.data.split_json import class_names, locate, read_split_json


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
