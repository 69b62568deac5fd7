"""Layouts: a path becomes a `Task` by the first layout that fits.

A new layout is a module with a `fewtune.data.label_table.Layout` and an entry in `LAYOUTS`.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fewtune.core.errors import DataError, did_you_mean
from fewtune.core.naming import counted
from fewtune.core.task import Task
from fewtune.data.class_names import with_class_names
from fewtune.data.file_names import hidden_part, split_of
from fewtune.data.label_table import LabelTable, Layout, to_task
from fewtune.data.layouts.folders import ClassFolders, SplitFolders
from fewtune.data.layouts.list_folder import ListFolder
from fewtune.data.layouts.listing import ImageFolder, Listing
from fewtune.data.layouts.split_file import SplitFile
from fewtune.data.prompt_words import prompt_words, refuse_same_prompts
from fewtune.data.scan import count_images_next_to, entries, images_in, is_own, subfolders
from fewtune.data.text_files import TABLE_SUFFIXES, read_descriptions

# From most to least specific: every folder with subfolders looks like class folders.
LAYOUTS: tuple[Layout, ...] = (
    Listing(),
    ListFolder(),
    SplitFile(),
    ImageFolder(),
    SplitFolders(),
    ClassFolders(),
)
_CLASS_FOLDERS = "Put each class in a folder of its own: DIR/cat/1.jpg, DIR/dog/2.jpg."


def open_task(
    location: str | Path,
    *,
    name: str | None = None,
    templates: Sequence[str] | None = None,
    descriptions: Path | None = None,
) -> Task:
    """Return the labelled images at `location` as a task; no image is opened.

    Args:
        location: A folder, or a csv, tsv or jsonl file.
        name: Short name of the task; by default the name of the folder or file.
        descriptions: JSON {class: [text, ...]} or csv (class, text) with full prompts.

    Raises:
        DataError: The location does not exist, has no known layout, or something in it is wrong.
    """
    try:
        path = Path(location).expanduser().absolute()
    except RuntimeError as error:
        raise DataError(f"{location}: {error}") from error
    layout = find_layout(path)
    if isinstance(layout, ClassFolders):
        _refuse_other_folders(path)
    table = _visible(layout.read(path), path)
    table = with_class_names(table, path if path.is_dir() else path.parent)
    stem = path.stem if path.is_file() else path.name
    name = name or re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "images"
    texts = descriptions and read_descriptions(Path(descriptions).expanduser(), table.names)
    task = to_task(table, name, templates=templates, descriptions=texts or None)
    classes = replace(task.classes, words=prompt_words(task.classes.names))
    refuse_same_prompts(classes)
    return replace(task, classes=classes)


def _visible(table: LabelTable, path: Path) -> LabelTable:
    """Return the table without hidden images, with notes on what was left out."""
    hidden = [part for row in table.rows if (part := hidden_part(row.key))]
    rows = tuple(row for row in table.rows if not hidden_part(row.key))
    if hidden and not rows:
        raise DataError(
            f"All images of {path} are hidden: they are in '{hidden[0]}', or named so.",
            hint="Move them into a folder with another name, and correct the paths in lists.",
        )
    notes = []
    if hidden:
        number = counted(len(hidden), "image")
        notes.append(f"left out {number} in hidden or system folders (such as '{hidden[0]}')")
    listed = [row.source for row in rows if row.where and isinstance(row.source, Path)]
    unlisted = count_images_next_to(listed)
    if unlisted:
        notes.append(f"ignored {counted(unlisted, 'image')} next to the listed ones")
    return replace(table, rows=rows, notes=(*table.notes, *notes))


def find_layout(path: Path) -> Layout:
    """Return the first layout that fits.

    Raises:
        DataError: Nothing exists at `path`, or no layout fits.
    """
    _require(path)
    for layout in LAYOUTS:
        if layout.detect(path):
            return layout
    if path.is_file():
        raise DataError(
            f"{path} is a file, but not a {', '.join(TABLE_SUFFIXES)} table of images.",
            hint="Give a folder of class folders, or a csv with the columns path and label.",
        )
    found = "images, but no class folders" if images_in(path) else "no class folders"
    raise DataError(
        f"{path} holds {found}.",
        hint=_table_hint(path) or _CLASS_FOLDERS,
    )


def _require(path: Path) -> None:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path} does not exist.", hint=_closest(path)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"Cannot read {path}: {reason}.") from error


def _closest(path: Path) -> str:
    """Return what may be meant by a path that does not exist."""
    parent = next(folder for folder in path.parents if folder.is_dir())
    if parent != path.parent:
        return f"{parent} is the last folder of this path that exists."
    meant = [e.name for e in entries(parent) if e.is_dir() or _is_table(e.name)]
    return did_you_mean(path.name, meant) or f"{parent} has no folder and no table in it."


def _refuse_other_folders(path: Path) -> None:
    """Refuse subfolders that are datasets, flat splits or a single folder, but not classes."""
    folders = [f for f in subfolders(path) if not is_own(f)]
    inner = [f for f in folders if any(one.detect(f) for one in LAYOUTS[:-1])]
    if inner:
        names = ", ".join(f"'{folder.name}'" for folder in inner[:5])
        raise DataError(
            f"{path} is not a dataset itself; it holds datasets: {names}.",
            hint=f"Try --data '{inner[0]}'",
        )
    if all(split_of(folder.name) for folder in folders):
        raise DataError(
            f"{path} has {', '.join(f.name for f in folders)}, but no class folders in them.",
            hint=_table_hint(path) or "Put images in DIR/train/CLASS/ and DIR/test/CLASS/.",
        )
    if len(folders) == 1 and len(subfolders(folders[0])) > 1:
        raise DataError(
            f"{path} holds one folder of folders, '{folders[0].name}'.",
            hint=_table_hint(path) or f"Try --data '{folders[0]}'",
        )


def hint_for_one_class(location: str) -> str:
    """Return where the labels of a folder with one class folder may be; "" if nobody knows."""
    path = Path(location).expanduser()
    return _table_hint(path) if location and path.is_dir() else ""


def _table_hint(path: Path) -> str:
    tables = [e.path for e in entries(path) if _is_table(e.name)]
    return f"Its labels may be in a table: try --data '{tables[0]}'" if tables else ""


def _is_table(name: str) -> bool:
    return name.lower().endswith(TABLE_SUFFIXES)
