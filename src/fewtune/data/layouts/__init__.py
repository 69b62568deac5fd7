"""From a path to a `Task`: the layouts that FewTune knows, in the order in which they are tried.

Each layout is a module of this package with a class that has `name`, `detect` and `read`
(`fewtune.data.label_table.Layout`). A further one is one more module and one more entry in
`LAYOUTS`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fewtune.core.errors import DataError, did_you_mean
from fewtune.core.task import Task
from fewtune.data.label_table import SPLIT_ALIASES, Layout, sort_names, to_task
from fewtune.data.layouts.folders import ClassFolders, SplitFolders
from fewtune.data.layouts.list_folder import ListFolder
from fewtune.data.layouts.listing import ImageFolder, Listing
from fewtune.data.layouts.split_file import SplitFile
from fewtune.data.scan import entries, holds_images, subfolders
from fewtune.data.text_files import TABLE_SUFFIXES, read_descriptions

# From the most to the least specific: every folder with subfolders looks like class folders.
LAYOUTS: tuple[Layout, ...] = (
    Listing(),
    ListFolder(),
    SplitFile(),
    ImageFolder(),
    SplitFolders(),
    ClassFolders(),
)


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
        name: Short name of the task; by default that of the folder or file.
        templates: Prompt templates with one "{}" each.
        descriptions: JSON {class: [text, ...]} or csv (class, text) with full prompts.

    Raises:
        DataError: Nothing is there, the layout is not known, or something in it is wrong.
    """
    try:
        path = Path(location).expanduser().absolute()
    except RuntimeError as error:
        raise DataError(f"{location}: {error}") from error
    layout = find_layout(path)
    if isinstance(layout, ClassFolders):
        _refuse_other_folders(path)
    table = layout.read(path)
    task_name = name or _name_of(path)
    texts = None
    if descriptions is not None:
        names = table.classes or sort_names(row.class_name for row in table.rows)
        texts = read_descriptions(Path(descriptions).expanduser(), names)
    return to_task(table, task_name, templates=templates, descriptions=texts)


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
    found = "images, but no class folders" if holds_images(path) else "no class folders"
    raise DataError(
        f"{path} holds {found}.",
        hint=_table_hint(path)
        or "Put each class in a folder of its own: DIR/cat/1.jpg, DIR/dog/2.jpg.",
    )


def _require(path: Path) -> None:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        siblings = _siblings(path)
        hint = did_you_mean(path.name, siblings) if siblings else "Check the path with ls."
        raise DataError(f"{path} does not exist.", hint=hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"Cannot read {path}: {reason}.") from error


def _siblings(path: Path) -> list[str]:
    if not path.parent.is_dir():
        return []
    return [entry.name for entry in entries(path.parent)]


def _refuse_other_folders(path: Path) -> None:
    """Refuse subfolders that are datasets, a lone wrapper or flat splits, but not classes."""
    inner = [f for f in subfolders(path) if any(one.detect(f) for one in LAYOUTS[:-1])]
    if inner:
        names = ", ".join(f"'{folder.name}'" for folder in inner[:5])
        raise DataError(
            f"{path} is not a dataset itself; it holds datasets: {names}.",
            hint=f"Try --data '{inner[0]}'",
        )
    only = subfolders(path)
    if all(folder.name.lower() in SPLIT_ALIASES for folder in only):
        raise DataError(
            f"{path} has {', '.join(folder.name for folder in only)}, but no class folders in "
            "them.",
            hint=_table_hint(path) or "Put images in DIR/train/CLASS/ and DIR/test/CLASS/.",
        )
    if len(only) == 1:
        hint = "Put each class in a folder of its own: DIR/cat/1.jpg, DIR/dog/2.jpg."
        if len(subfolders(only[0])) > 1:
            hint = f"Try --data '{only[0]}'"
        raise DataError(
            f"{path} has 1 class ('{only[0].name}'); a classifier needs at least 2.",
            hint=_table_hint(path) or hint,
        )


def _table_hint(path: Path) -> str:
    tables = [e.path for e in entries(path) if e.name.lower().endswith(TABLE_SUFFIXES)]
    return f"Its labels may be in a table: try --data '{tables[0]}'" if tables else ""


def _name_of(path: Path) -> str:
    stem = path.stem if path.is_file() else path.name
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "images"
