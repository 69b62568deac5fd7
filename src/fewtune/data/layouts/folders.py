"""Class folders, with or without folders for the splits.

    DIR/cat/1.jpg                  class folders
    DIR/train/cat/1.jpg            split folders: train, and optionally val and test
    DIR/cat/train/1.jpg            split folders in each class folder

Class folders may have subfolders. Class names are the sorted folder names.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.core.naming import counted
from fewtune.data.file_names import split_of
from fewtune.data.label_table import LabelledRow, LabelTable, plain
from fewtune.data.scan import Skipped, images_below, images_in, is_own, subfolders


class SplitFolders:
    """DIR/{train,val,test}/CLASS/IMAGE."""

    name = "split folders"

    def detect(self, location: Path) -> bool:
        """Return whether there is a folder named after a split with folders but no images."""
        return location.is_dir() and any(
            subfolders(folder) and not images_in(folder) for folder in _split_folders(location)
        )

    def read(self, location: Path) -> LabelTable:
        """Return the images of all split folders."""
        rows: list[LabelledRow] = []
        skipped = Skipped()
        notes: list[str] = []
        seen: dict[str, Path] = {}
        for folder in _split_folders(location):
            split = split_of(folder.name)
            if split in seen:
                raise DataError(
                    f"{location} has two {split} folders: '{seen[split].name}' and "
                    f"'{folder.name}'.",
                    hint="Merge them or remove one.",
                )
            seen[split] = folder
            rows += _class_rows(folder, split, f"{folder.name}/", skipped)
            notes += _loose(folder, f"{plain(folder.name)}/, outside class folders")
        notes += _loose(location, "the folder itself, outside the splits")
        notes += _next_to_splits(location, seen, skipped)
        return LabelTable(self.name, tuple(rows), notes=(*notes, *skipped.notes()))


class ClassFolders:
    """DIR/CLASS/IMAGE."""

    name = "class folders"

    def detect(self, location: Path) -> bool:
        """Return whether there is a subfolder."""
        return location.is_dir() and bool(subfolders(location))

    def read(self, location: Path) -> LabelTable:
        """Return the images of all class folders."""
        skipped = Skipped()
        folders = [folder for folder in subfolders(location) if not is_own(folder)]
        # A vehicle may be a train; nothing is a "validation".
        unclear = [folder for folder in folders if split_of(folder.name) and not _is_train(folder)]
        if unclear:
            _refuse_unclear(location, unclear[0], [f for f in folders if f != unclear[0]])
        splits = _split_within_classes(folders)
        rows = _class_rows(location, "" if splits else "train", "", skipped)
        notes = _loose(location, "the folder itself, outside class folders")
        if not splits:
            notes += _misplaced(rows)
        return LabelTable(
            f"{self.name}, each with split folders" if splits else self.name,
            tuple(rows),
            notes=(*notes, *skipped.notes()),
        )


def _split_folders(location: Path) -> list[Path]:
    return [folder for folder in subfolders(location) if split_of(folder.name)]


def _is_train(folder: Path) -> bool:
    return folder.name.lower() == "train"


def _split_within_classes(folders: Sequence[Path]) -> bool:
    """Return whether each class folder holds a train folder, other splits, and nothing else."""
    for folder in folders:
        splits = {split_of(one.name) for one in subfolders(folder)}
        if "train" not in splits or "" in splits or images_in(folder):
            return False
    return bool(folders)


def _loose(folder: Path, where: str) -> list[str]:
    """Return a note on images directly in a folder, if there are any."""
    count = len(images_in(folder))
    return [f"ignored {counted(count, 'image')} in {where}"] if count else []


def _misplaced(rows: Sequence[LabelledRow]) -> list[str]:
    """Return a note on training images in folders named after another split, if any."""
    inner = [row.key.split("/")[1] for row in rows if row.key.count("/") > 1]
    found = [name for name in inner if split_of(name) not in ("", "train")]
    if not found:
        return []
    number = counted(len(found), "training image")
    return [
        f"{number} in folders of class folders such as {found[0]}/: splits are read there only if "
        "every class folder has them and nothing else"
    ]


def _next_to_splits(location: Path, splits: Iterable[str], skipped: Skipped) -> list[str]:
    """Return a note on folders next to the splits."""
    found: dict[Path, int] = {}
    for folder in subfolders(location, skipped):
        if not split_of(folder.name):
            count = len(images_below(folder, Skipped()))
            if count or not is_own(folder):
                found[folder] = count
            else:
                skipped.own[plain(folder.name)] += 1
    with_images = [folder for folder, count in found.items() if count]
    if with_images and not {"train"} < set(splits):
        _refuse_unclear(location, _split_folders(location)[0], with_images)
    if not found:
        return []
    names = [f"{plain(f.name)} ({counted(n, 'image')})" if n else f.name for f, n in found.items()]
    return [f"ignored folders next to the splits: {', '.join(names[:5])}"]


def _refuse_unclear(location: Path, folder: Path, others: Sequence[Path]) -> None:
    names = " and ".join(f"'{plain(other.name)}'" for other in others[:2])
    split = f"If it is a split, move the class folders into '{location}/train'."
    if _is_train(folder):
        split = f"If it is the training split, take it alone: --data '{folder}'."
    raise DataError(
        f"{location} has a folder '{folder.name}' next to {names}: is it a split or a class?",
        hint=f"{split} If it is a class, rename it: mv '{folder}' '{folder}s'",
    )


def _class_rows(folder: Path, split: str, prefix: str, skipped: Skipped) -> list[LabelledRow]:
    """Return the rows of the class folders in `folder`; split "" reads it from their subfolders."""
    rows = []
    for class_folder in subfolders(folder, skipped):
        inner = Skipped()
        found = images_below(class_folder, inner)
        if not found and is_own(class_folder):
            skipped.own[plain(class_folder.name)] += 1
            continue
        if not found:
            left_out = f" ({'; '.join(inner.notes())})" if inner.notes() else ""
            raise DataError(
                f"Class folder '{class_folder}' holds no images{left_out}.",
                hint="Add images to it or remove the folder.",
            )
        skipped.add(inner)
        name = plain(class_folder.name)
        for file in found:
            own = split or split_of(file.relative.partition("/")[0])
            key = plain(f"{prefix}{class_folder.name}/{file.relative}")
            rows.append(LabelledRow(own, key, name, file.path, file.size_bytes))
    return rows
