"""Webdataset folders of CLIP benchmark (`clip-benchmark/wds_*` on the Hub), as downloaded.

    FOLDER/train/nshards.txt            the number of shards
    FOLDER/train/0.tar 1.tar ..         members s0000000.webp and s0000000.cls, and so on
    FOLDER/test/..                      the same; older copies have no train
    FOLDER/classnames.txt               one per line; a line may be empty

Shards are not unpacked: an image is read from its place in the archive. They hold VTAB's "train"
split (90, 80 or 60 % of the training images) and its test split, never its val split.
"""

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow, LabelTable, is_number, plain
from fewtune.data.packed_images import FileSlice
from fewtune.data.text_files import read_lines, read_text
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.download.archive import DAMAGED
from fewtune.datasets.download.hub_shards import COUNT_FILE, MOST_SHARDS
from fewtune.datasets.readers.reader_tools import class_name, make_table, named
from fewtune.datasets.tfrecord import Data, map_file
from fewtune.datasets.vtab_labels import dsprites_location, dsprites_orientation

PARENTS = ("", "clip-benchmark", "djghosh")
IMAGE_SUFFIXES = ("webp", "png", "jpg", "jpeg")
IMAGE, LABEL = "image", "label (.cls)"
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
        return next((f for f in folders if (f / "test" / COUNT_FILE).is_file()), None)

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the rows of both splits."""
        notes = []
        rows: list[LabelledRow] = []
        for split in ("train", "test"):
            folder = location / split
            if split == "train" and not (folder / COUNT_FILE).is_file():
                notes.append("this copy has test images only")
                continue
            for number in range(_shard_count(folder / COUNT_FILE)):
                rows += self._shard_rows(folder / f"{number}.tar", split, dataset)
        names = location / "classnames.txt"
        # An empty line is a name, too: that of CLEVR's fourth distance.
        listed = len(read_lines(names)) if names.is_file() else len(dataset.classes)
        if listed != len(dataset.classes) and self.label is None:
            notes.append(f"classnames.txt lists {listed} classes, expected {len(dataset.classes)}")
        return make_table(self.layout, rows, dataset, subset, notes)

    def _shard_rows(self, path: Path, split: str, dataset: Dataset) -> Iterator[LabelledRow]:
        """Yield the rows of one archive, without reading the images."""
        if not path.is_file():
            raise DataError(
                f"{path} is missing.",
                hint=f"Fetch it, or run: fewtune data verify {path.parent.parent}",
            )
        data = map_file(path)
        for name, sample in _samples(path, data).items():
            where = f"{path.name} member {name}"
            for kind in (IMAGE, LABEL):
                if kind not in sample:
                    raise DataError(f"{where} in {path.parent} has no {kind}.")
            image, stored = sample[IMAGE], sample[LABEL]
            try:
                label = self.label(stored) if self.label else stored
            except DataError as error:
                raise DataError(f"{where} in {path.parent}: {error.what}") from error
            key = f"{split}/{path.name}/{plain(name)}.{image.name.rpartition('.')[2]}"
            named = class_name(dataset, label, where)
            source = FileSlice(path, image.offset_data, image.size)
            yield LabelledRow(split, key, named, source, image.size, where)


def _samples(path: Path, data: Data) -> dict[str, dict[str, Any]]:
    """Return the image's `TarInfo` and the label that an archive holds by name."""
    found: dict[str, dict[str, Any]] = {}
    for file in _files(path, data):
        parts = _MEMBER.fullmatch(file.name.removeprefix("./"))
        if parts is None:
            raise DataError(
                f"{path} holds {plain(file.name)[:80]!r}, expected files such as 's0000000.webp' "
                "and 's0000000.cls'."
            )
        sample = found.setdefault(parts[1], {})
        kind = LABEL if parts[2] == "cls" else IMAGE
        if kind in sample:
            raise DataError(f"{path} holds two files of one kind for '{plain(parts[1])}'.")
        sample[kind] = _label(data, file, path) if kind == LABEL else file
    return found


def _files(path: Path, data: Data) -> Iterator[tarfile.TarInfo]:
    """Yield the files of an uncompressed archive, all plain and with short names."""
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


def _label(data: Data, file: tarfile.TarInfo, path: Path) -> int:
    start = file.offset_data
    text = data[start : start + min(file.size, MOST_LABEL_BYTES)].decode("latin-1").strip()
    if not is_number(text):
        raise DataError(
            f"{path} has the label {text[:20]!r} in '{plain(file.name)}', expected a number."
        )
    return int(text)


def _shard_count(path: Path) -> int:
    text = read_text(path).strip()
    if not is_number(text) or not 0 < int(text) <= MOST_SHARDS:
        raise DataError(f"{path} holds {text[:40]!r}, expected the number of archives next to it.")
    return int(text)
