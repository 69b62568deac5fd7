"""List folders, the form in which VTAB-1k is usually shared.

    DIR/train800.txt  val200.txt  train800val200.txt  test.txt    lines "PATH LABEL"
    DIR/images/...                                                the images
    DIR/classnames.txt                                            optional, one name per line

Paths are relative to DIR and may contain spaces; labels are integers from 0. As in VTAB-1k,
training uses train800val200 if it exists.
"""

from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow, LabelTable, is_number, plain
from fewtune.data.scan import listed_file
from fewtune.data.text_files import numbered_lines

TRAIN_LISTS = ("train800val200.txt", "train800.txt")


class ListFolder:
    """DIR/{train800,val200,train800val200,test}.txt."""

    name = "list folder"

    def detect(self, location: Path) -> bool:
        """Return whether there is a list of training images."""
        return location.is_dir() and any((location / name).is_file() for name in TRAIN_LISTS)

    def read(self, location: Path) -> LabelTable:
        """Return the images of all lists."""
        notes = []
        whole = location / TRAIN_LISTS[0]
        if whole.is_file():
            rows = read_list(whole, "train")
            notes.append("training images: train800val200 (val200 is a part of them)")
        else:
            rows = read_list(location / TRAIN_LISTS[1], "train")
            rows += _read_optional(location / "val200.txt", "val")
        rows += _read_optional(location / "test.txt", "test")
        names = map(str, range(1 + max(int(row.class_name) for row in rows)))
        return LabelTable(self.name, tuple(rows), tuple(names), tuple(notes))


def _read_optional(path: Path, split: str) -> list[LabelledRow]:
    return read_list(path, split) if path.is_file() else []


def read_list(path: Path, split: str, folder: Path | None = None) -> list[LabelledRow]:
    """Return the rows of a list of lines "PATH LABEL"; their class names are the labels.

    Args:
        folder: Folder that the paths are relative to; None for the folder of the list.

    Raises:
        DataError: A line is malformed, leads out of the folder of the list, or names no file.
    """
    rows = []
    for where, content in numbered_lines(path):
        relative, _, label = content.rpartition(" ")
        if not relative or not is_number(label):
            raise DataError(
                f"{where} in {path.parent} is {content[:60]!r}, expected a path, a space and a "
                "label from 0 up, such as 'images/test/000000.jpg 17'."
            )
        file = listed_file(folder or path.parent, relative, where)
        rows.append(
            LabelledRow(split, plain(file.relative), label, file.path, file.size_bytes, where)
        )
    if not rows:
        raise DataError(f"{path} lists no images.")
    return rows
