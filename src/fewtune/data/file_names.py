"""File and folder names: which ones stand for a split, and which ones are hidden.

Readers of folders, tables and lists all use these rules, so that they agree.
"""

from collections.abc import Iterable, Sequence
from itertools import compress, takewhile

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
    """Return the split that a folder is named after; "" if none."""
    return SPLIT_ALIASES.get(folder.lower(), "")


def is_system_name(name: str) -> bool:
    """Return whether an operating system or a photo program makes files of this name."""
    name = name.lower()
    return (
        name in _SYSTEM_NAMES
        or name.startswith(_SYSTEM_PREFIXES)
        or name.endswith(_SYSTEM_SUFFIXES)
    )


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is ignored."""
    return name.startswith(".") or is_system_name(name)


def hidden_part(key: str) -> str:
    """Return the first hidden file or folder name in an image's key; "" if there is none.

    Keys outside the dataset's folder were written by hand. Their folders may begin with a dot, as
    in "/home/me/.cache/photos/1.jpg".
    """
    hidden = is_system_name if _is_outside(key) else is_hidden
    return next((name for name in key.split("/") if hidden(name)), "")


def splits_in(keys: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Return the split in the folder names of each key; "" where there is none.

    Splits are read at the first level where every key has a folder named after a split
    ("train/cat/1.jpg", "cat/train/1.jpg"), else at the first level where keys differ ("test/1.jpg"
    and "more/2.jpg"). Folders named after the label of all their images are classes, not splits.
    """
    folders = [key.split("/")[:-1] for key in keys]
    # Keys outside the dataset's folder: what they share says nothing about splits.
    outside = [_is_outside(key) for key in keys]
    shared = _shared_depth(compress(folders, outside))
    folders = [f[shared:] if out else f for f, out in zip(folders, outside, strict=True)]
    for level in range(min(map(len, folders), default=0)):
        if all(split_of(parts[level]) for parts in folders):
            return _at_level(folders, level, labels)
    return _at_level(folders, _shared_depth(folders), labels)


def _at_level(folders: Sequence[list[str]], level: int, labels: Sequence[str]) -> list[str]:
    names = [parts[level] if len(parts) > level else "" for parts in folders]
    labelled = zip(names, labels, strict=True)
    if all(name.lower() == label.lower() for name, label in labelled if split_of(name)):
        return [""] * len(names)
    return [split_of(name) for name in names]


def _shared_depth(folders: Iterable[list[str]]) -> int:
    """Return how many leading folders are the same in all paths."""
    levels = zip(*folders, strict=False)
    return len(list(takewhile(lambda names: len(set(names)) == 1, levels)))


def _is_outside(key: str) -> bool:
    return key.startswith(("/", "../")) or key[1:3] == ":/"
