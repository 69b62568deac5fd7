"""Webdataset folders of CLIP benchmark (`clip-benchmark/wds_*` on the Hub), as downloaded.

    FOLDER/train/nshards.txt            the number of shards
    FOLDER/train/0.tar 1.tar ..         members s0000000.webp and s0000000.cls, and so on
    FOLDER/test/..                      the same; older copies have no train
    FOLDER/classnames.txt               one per line; a line may be empty

Shards are not unpacked: an image is read from its place in the archive. They hold VTAB's "train"
split (90, 80 or 60 % of the training images) and its test split, never its val split.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow, LabelTable, is_number, plain
from fewtune.data.packed_images import FileSlice
from fewtune.data.text_files import read_lines, read_text
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.download.archive import DAMAGED
from fewtune.datasets.readers.checks import class_name, make_table
from fewtune.datasets.readers.functions import named
from fewtune.datasets.tfrecord import Data, map_file
from fewtune.datasets.vtab_labels import dsprites_location, dsprites_orientation

PARENTS = ("", "clip-benchmark", "djghosh")
IMAGE_SUFFIXES = ("webp", "png", "jpg", "jpeg")
MOST_SHARDS = 100_000
MOST_LABEL_BYTES = 64
LABEL_RULES = {
    "dsprites-location": dsprites_location,
    "dsprites-orientation": dsprites_orientation,
}
# Extended headers that change what a member is; webdataset writes others, of its time of change.
CHANGING = ("path", "size", "linkpath")
_MEMBER = re.compile(rf"([^/\\]+)\.(cls|{'|'.join(IMAGE_SUFFIXES)})")


@dataclass(frozen=True)
class WebDataset:
    """A dataset of CLIP benchmark.

    Attributes:
        repo: The name on the Hub after "clip-benchmark/wds_": "vtab-svhn".
        label: The class of a stored label, where the two are not the same.
    """

    repo: str
    label: Annotated[Callable[[int], int], named(LABEL_RULES)] | None = None

    layout = "webdataset shards"

    def find(self, root: Path) -> Path | None:
        """Return the first folder of that name with shards of a test split."""
        names = (f"wds_{self.repo}", self.repo, f"wds_{self.repo}_test", f"{self.repo}_test")
        folders = [root / parent / name for parent in PARENTS for name in names]
        if root.name in names:
            folders.insert(0, root)
        return next((f for f in folders if (f / "test" / "nshards.txt").is_file()), None)

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the rows of both splits."""
        notes = []
        rows: list[LabelledRow] = []
        for split in ("train", "test"):
            folder = location / split
            if split == "train" and not (folder / "nshards.txt").is_file():
                notes.append("this copy has test images only")
                continue
            for number in range(_shard_count(folder / "nshards.txt")):
                rows += self._shard_rows(folder / f"{number}.tar", split, dataset)
        notes += _class_notes(location / "classnames.txt", dataset, self.label is not None)
        return make_table(self.layout, rows, dataset, subset, notes)

    def _shard_rows(self, path: Path, split: str, dataset: Dataset) -> Iterator[LabelledRow]:
        """Yield the rows of one archive."""
        for name, member in _samples(path).items():
            where = f"{path.name} member {name}"
            if member.image is None or member.label is None:
                missing = "image" if member.image is None else "label (.cls)"
                raise DataError(f"{where} in {path.parent} has no {missing}.")
            try:
                label = self.label(member.label) if self.label else member.label
            except DataError as error:
                raise DataError(f"{where} in {path.parent}: {error.what}") from error
            key = f"{split}/{path.name}/{plain(name)}.{member.suffix}"
            named = class_name(dataset, label, where)
            yield LabelledRow(split, key, named, member.image, member.image.size, where)


@dataclass
class _Sample:
    """What an archive holds under one name."""

    image: FileSlice | None = None
    suffix: str = ""
    label: int | None = None


def _samples(path: Path) -> dict[str, _Sample]:
    """Return what an archive holds by name, without reading the images.

    Raises:
        DataError: It is missing, damaged, or holds what a shard does not: links, other kinds of
            files, two images of one name.
    """
    if not path.is_file():
        raise DataError(
            f"{path} is missing.",
            hint=f"Fetch it, or run: fewtune data verify {path.parent.parent}",
        )
    found: dict[str, _Sample] = {}
    data = map_file(path)
    for file in _files(path, data):
        parts = _MEMBER.fullmatch(file.name.removeprefix("./"))
        if parts is None:
            raise DataError(
                f"{path} holds {plain(file.name)[:80]!r}, expected files such as 's0000000.webp' "
                "and 's0000000.cls'."
            )
        sample = found.setdefault(parts[1], _Sample())
        if parts[2] == "cls" and sample.label is None:
            text = data[file.offset_data : file.offset_data + min(file.size, MOST_LABEL_BYTES)]
            sample.label = _label(text.decode("latin-1").strip(), file.name, path)
        elif parts[2] != "cls" and sample.image is None:
            sample.image = FileSlice(path, file.offset_data, file.size)
            sample.suffix = parts[2]
        else:
            raise DataError(f"{path} holds two files of one kind for '{plain(parts[1])}'.")
    return found


def _files(path: Path, data: Data) -> Iterator[tarfile.TarInfo]:
    """Yield the files of an uncompressed archive, which is not unpacked.

    Args:
        data: Its contents.

    Raises:
        DataError: It is damaged, or holds anything but plain files with short names.
    """
    try:
        with tarfile.open(path, "r:", errors="backslashreplace") as archive:
            for file in archive:
                changed = any(key in file.pax_headers for key in CHANGING)
                if changed or file.issparse() or not (file.isreg() or file.isdir()):
                    raise DataError(
                        f"{path} holds {plain(file.name)[:80]!r}, which is no plain file."
                    )
                if not 0 <= file.size <= len(data) - file.offset_data:
                    raise tarfile.ReadError("unexpected end of data")
                if file.isreg():
                    yield file
            # tarfile takes a damaged header for the end; the end is a block of zeros.
            end = data[archive.offset : archive.offset + tarfile.BLOCKSIZE]
            if len(end) < tarfile.BLOCKSIZE or any(end):
                raise tarfile.ReadError(f"no header at byte {archive.offset}")
    except (OSError, *DAMAGED) as error:
        raise DataError(
            f"Cannot read the archive {path}: it is cut off or damaged ({error}).",
            hint="Fetch the file again.",
        ) from error


def _label(text: str, name: str, path: Path) -> int:
    if not is_number(text):
        raise DataError(
            f"{path} has the label {text[:20]!r} in '{plain(name)}', expected a number."
        )
    return int(text)


def _shard_count(path: Path) -> int:
    text = read_text(path).strip()
    if not is_number(text) or not 0 < int(text) <= MOST_SHARDS:
        raise DataError(f"{path} holds {text[:40]!r}, expected the number of archives next to it.")
    return int(text)


def _class_notes(path: Path, dataset: Dataset, mapped: bool) -> list[str]:
    """Return a note if the folder lists another number of classes, which mapped labels explain."""
    if not path.is_file() or mapped:
        return []
    names = read_lines(path)  # an empty line is a name: the one of CLEVR's fourth distance
    if len(names) == len(dataset.classes):
        return []
    return [f"classnames.txt lists {len(names)} classes, expected {len(dataset.classes)}"]
