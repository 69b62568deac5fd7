"""Folders of TensorFlow Datasets, read without TensorFlow.

    ROOT[/tensorflow_datasets]/BUILDER[/CONFIG]/VERSION/
        BUILDER-SPLIT.tfrecord-00000-of-00005 ..      records (`fewtune.datasets.tfrecord`)

VTAB is defined on these files: its splits and the images of VTAB-1k are slices that count records
through the shards one after the other. (TFDS interleaves shards only within a slice, so the order
of reading changes, the set of images does not.)
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fewtune.core.errors import DataError
from fewtune.data.label_table import LabelledRow, LabelTable
from fewtune.data.packed_images import FileSlice, ZeroOneSlice
from fewtune.data.scan import named_files, subfolders
from fewtune.datasets import vtab_labels
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers.reader_tools import class_name, named
from fewtune.datasets.tfrecord import (
    Features,
    Span,
    locate_bytes,
    locate_records,
    map_file,
    read_record,
)
from fewtune.datasets.vtab_slices import PLAIN, Slices, slice_notes

PARENTS = ("", "tensorflow_datasets")
_VERSION = re.compile(r"\d+\.\d+\.\d+")

LabelRule = Callable[[Features], int]
_Shards = list[tuple[Path, list[Span]]]


@dataclass(frozen=True)
class Stored:
    """The label that a record stores under a name, put through a rule where there is one."""

    name: str = "label"
    rule: Callable[[int], int] | None = None

    def __call__(self, record: Features) -> int:
        """Return the label.

        Raises:
            DataError: The record does not hold one number of that name.
        """
        values = record.get(self.name, [])
        if len(values) != 1 or not isinstance(values[0], int):
            raise DataError(f"no single whole number '{self.name}'")
        return self.rule(values[0]) if self.rule else values[0]


def clevr_count(record: Features) -> int:
    """Return the label of a scene's number of objects."""
    return vtab_labels.clevr_count(len(_depths(record, "objects/pixel_coords")))


def clevr_distance(record: Features) -> int:
    """Return the label of the distance of a scene's closest object."""
    return vtab_labels.clevr_distance(_depths(record, "objects/pixel_coords"))


def kitti_distance(record: Features) -> int:
    """Return the label of the distance of the closest vehicle."""
    kinds = record.get("objects/type", [])
    depths = _depths(record, "objects/location")
    if len(kinds) != len(depths):
        raise DataError(f"{len(kinds)} types for {len(depths)} objects")
    names: dict[object, str] = dict(enumerate(vtab_labels.KITTI_TYPES))
    return vtab_labels.kitti_distance(
        [(names.get(k, ""), z) for k, z in zip(kinds, depths, strict=True)]
    )


LABEL_RULES: dict[str, LabelRule] = {
    "clevr-count": clevr_count,
    "clevr-distance": clevr_distance,
    "dsprites-location": Stored("label_x_position", vtab_labels.dsprites_location),
    "dsprites-orientation": Stored("label_orientation", vtab_labels.dsprites_orientation),
    "kitti-distance": kitti_distance,
    "smallnorb-azimuth": Stored("label_azimuth"),
    "smallnorb-elevation": Stored("label_elevation"),
}


@dataclass(frozen=True)
class Tfds:
    """A dataset of TFDS.

    Attributes:
        builder: Its name, with the configuration and the versions VTAB is defined on:
            "sun397/tfds:4.*.*".
        label: The label of a record; by default its number "label".
        zero_one: Pixels are 0 and 1.
    """

    builder: str
    label: Annotated[LabelRule, named(LABEL_RULES)] | None = None
    slices: Slices = PLAIN
    zero_one: bool = False

    layout = "TFDS folder"

    def find(self, root: Path) -> Path | None:
        """Return the folder of the newest version, one that VTAB is defined on if there is one."""
        name = self.builder.partition(":")[0]
        places = [root / parent for parent in PARENTS]
        if root.name == self._stem:
            places.append(root.parent)
        for place in places:
            folder = place / name
            versions = [
                found
                for found in (subfolders(folder) if folder.is_dir() else [])
                if _VERSION.fullmatch(found.name) and any(_shards(found, self._stem))
            ]
            if versions:
                return max(versions, key=lambda found: (self._fits(found), _number(found)))
        return None

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return VTAB's slices, or the whole splits."""
        rows: list[LabelledRow] = []
        shards: dict[str, _Shards] = {}
        for part in self.slices.parts(subset):
            if part.stored not in shards:
                shards[part.stored] = _locate(location, self._stem, part.stored)
            taken = part.taken(_count(shards[part.stored]))
            for path, records in shards[part.stored]:
                rows += self._rows(path, records, taken, part.into, dataset)
                taken = range(taken.start - len(records), taken.stop - len(records))
        counts = {stored: _count(of_split) for stored, of_split in shards.items()}
        doubt = "" if self._fits(location) else f"it is defined on {self.builder}"
        notes = slice_notes(counts, self.slices, dataset, subset, complete=True, doubt=doubt)
        return LabelTable(
            self.layout, tuple(rows), dataset.classes, (f"version {location.name}", *notes)
        )

    @property
    def _stem(self) -> str:
        """How file names begin: the builder without configuration and version."""
        return self.builder.partition(":")[0].partition("/")[0]

    def _fits(self, location: Path) -> bool:
        pattern = self.builder.partition(":")[2] or "*"
        wanted = pattern.split(".")
        found = location.name.split(".")
        return all(w in ("*", f) for w, f in zip(wanted, found, strict=False))

    def _rows(
        self, path: Path, records: list[Span], taken: range, split: str, dataset: Dataset
    ) -> Iterator[LabelledRow]:
        """Yield the rows at these positions, which may lie before or beyond the file."""
        within = range(max(taken.start, 0), min(taken.stop, len(records)))
        data = map_file(path) if within else b""
        for index in within:
            where = f"{path.name} record {index}"
            record = read_record(data, records[index], path)
            stored = stored_bytes(record, "image", f"{where} in {path.parent}")
            image = locate_bytes(data, records[index], stored)
            try:
                label = (self.label or Stored())(record)
            except DataError as error:
                raise DataError(f"{where} in {path.parent}: {error.what}") from error
            place = FileSlice(path, image.offset, image.size)
            source = ZeroOneSlice(place) if self.zero_one else place
            # The form of TFDS's own "tfds_id", by which others name these images too.
            key = f"{path.name}__{index}"
            named = class_name(dataset, label, where)
            yield LabelledRow(split, key, named, source, image.size, where)


def stored_bytes(record: Features, name: str, where: str) -> bytes:
    """Return bytes of a record; `where` names the record.

    Raises:
        DataError: It holds no single run of bytes of that name.
    """
    values = record.get(name, [])
    if len(values) != 1 or not isinstance(values[0], bytes):
        raise DataError(f"{where} holds no {name}.")
    return values[0]


def _depths(record: Features, name: str) -> list[float]:
    """Return the third of every three numbers."""
    values = record.get(name, [])
    floats = [value for value in values if isinstance(value, float)]
    if len(floats) != len(values) or len(floats) % 3:
        raise DataError(f"no triples of numbers '{name}'")
    return floats[2::3]


def _number(location: Path) -> tuple[int, ...]:
    return tuple(map(int, location.name.split(".")))


def _shards(location: Path, stem: str, split: str = r"\w+") -> Iterator[tuple[int, int, Path]]:
    """Yield place, number of all, and path of each shard."""
    name = rf"{re.escape(stem)}-{split}\.tfrecord-(\d{{5}})-of-(\d{{5}})"
    for matched, path in named_files(location, name):
        yield int(matched[1]), int(matched[2]), path


def _locate(location: Path, stem: str, split: str) -> _Shards:
    """Return the shards of a split in order, each with its records."""
    found = list(_shards(location, stem, split))
    total = {of for _, of, _ in found}
    if [place for place, _, _ in found] != list(range(max(total, default=-1))) or len(total) != 1:
        expected = f"{stem}-{split}.tfrecord-00000-of-{max(total, default=1):05d}"
        raise DataError(
            f"{location} holds {len(found)} of {max(total, default=1)} files of the split "
            f"'{split}' ({expected}, ..).",
            hint=f"Prepare it with: tfds build {stem}",
        )
    return [(path, list(locate_records(map_file(path), path))) for _, _, path in found]


def _count(shards: _Shards) -> int:
    return sum(len(records) for _, records in shards)
