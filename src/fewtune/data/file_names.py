"""Names of files and folders: which ones say a split, and which ones are hidden.

Every reader of folders, tables and lists asks here, so that all of them agree.
"""

from __future__ import annotations

from collections.abc import Sequence

SPLITS = ("train", "val", "test")
SPLIT_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}

# Thumbnails, previews, recycle bins and notes that systems and photo programs put next to photos.
_SYSTEM_NAMES = frozenset(
    (
        *("@eadir", "@recycle", "@recently-snapshot", "@sharebin", "@synoresource", "@tmp"),
        *("@__thumb", ".@__thumb", "#recycle", "#snapshot", "~snapshot", "$recycle.bin"),
        *("recycler", "system volume information", "lost+found", "lost.dir", "trashbox"),
        *("network trash folder", "temporary items", "__macosx", "__pycache__", ".thumbnails"),
        *(".picasaoriginals", ".ds_store", ".trash", ".trashes", ".dropbox.cache"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini"),
    )
)
_SYSTEM_PREFIXES = ("._", ".trash-", ".fuse_hidden", ".nfs")
_SYSTEM_SUFFIXES = (".lrdata",)  # Lightroom's previews


def split_of(folder: str) -> str:
    """Return the split that a folder's name says; "" if it says none."""
    return SPLIT_ALIASES.get(folder.lower(), "")


def is_system_name(name: str) -> bool:
    """Return whether a system or a photo program keeps a file or folder of this name."""
    name = name.lower()
    return (
        name in _SYSTEM_NAMES
        or name.startswith(_SYSTEM_PREFIXES)
        or name.endswith(_SYSTEM_SUFFIXES)
    )


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is passed over because of its name."""
    return name.startswith(".") or is_system_name(name)


def hidden_part(key: str) -> str:
    """Return the first hidden name in an image's key; "" if there is none.

    A key that leads out of the dataset's folder was written by hand: folders there may begin with a
    dot, as in "/home/me/.cache/photos/1.jpg".
    """
    hidden = is_system_name if _is_outside(key) else is_hidden
    return next((name for name in key.split("/") if hidden(name)), "")


def splits_in(keys: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Return the split that each key's folders say; "" where they say none.

    The first level at which all keys have a folder named as a split says it ("train/cat/1.jpg",
    "cat/train/1.jpg"), else the first level at which keys differ ("test/1.jpg" next to
    "more/2.jpg"). A folder that is named as the label of all its images is a class.
    """
    folders = _below_common(keys)
    for level in range(min(map(len, folders), default=0)):
        if all(split_of(parts[level]) for parts in folders):
            return _at_level(folders, level, labels)
    return _at_level(folders, _shared_depth(folders), labels)


def _at_level(folders: Sequence[list[str]], level: int, labels: Sequence[str]) -> list[str]:
    names = [parts[level] if len(parts) > level else "" for parts in folders]
    splits = [split_of(name) for name in names]
    classes = (name.lower() == label.lower() for name, label in zip(names, labels, strict=True))
    if all(same for same, split in zip(classes, splits, strict=True) if split):
        return [""] * len(names)
    return splits


def _below_common(keys: Sequence[str]) -> list[list[str]]:
    """Return the folders of each key; of those outside the dataset, without what they share."""
    folders = [key.split("/")[:-1] for key in keys]
    outside = [index for index, key in enumerate(keys) if _is_outside(key)]
    shared = _shared_depth([folders[index] for index in outside])
    for index in outside:
        folders[index] = folders[index][shared:]
    return folders


def _shared_depth(folders: Sequence[list[str]]) -> int:
    """Return how many leading folders are the same in all paths."""
    depth = 0
    for names in zip(*folders, strict=False):
        if len(set(names)) > 1:
            break
        depth += 1
    return depth


def _is_outside(key: str) -> bool:
    return key.startswith(("/", "../")) or key[1:3] == ":/"
