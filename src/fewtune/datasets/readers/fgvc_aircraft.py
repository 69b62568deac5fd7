"""FGVC-Aircraft with its own lists, which CoOp uses as they are.

    ROOT/fgvc_aircraft/images_variant_train.txt    "0034309 Boeing 707-320"; val and test likewise
    ROOT/fgvc_aircraft/variants.txt                one class per line
    ROOT/fgvc_aircraft/images/0034309.jpg

The archive, and torchvision, have the same files in fgvc-aircraft-2013b/data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.data.file_names import SPLITS
from fewtune.data.label_table import LabelledRow, LabelTable, plain
from fewtune.data.split_json import SplitEntry, inside, locate
from fewtune.data.text_files import numbered_lines, read_class_names
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers.few_shot_lists import read_jsonl_draws
from fewtune.datasets.readers.reader_tools import find_folder, size_notes
from fewtune.datasets.readers.zhou import match_classes

LIST = "images_variant_{}.txt"


@dataclass(frozen=True)
class Aircraft:
    """FGVC-Aircraft by variant, by the names of the folder of its lists, CoOp's first."""

    folders: tuple[str, ...] = ("fgvc_aircraft", "fgvc-aircraft-2013b", "fgvc-aircraft")

    layout = "FGVC-Aircraft lists"

    def find(self, root: Path) -> Path | None:
        """Return the folder of the lists."""
        folders = [path for name in self.folders for path in (name, f"{name}/data")]
        return find_folder(root, folders, LIST.format("train"), "variants.txt")

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the images of the three lists, in their order."""
        variants = read_class_names(location / "variants.txt")
        names, notes = match_classes(variants, dataset, location / "variants.txt")
        known = dict(zip(variants, names, strict=True))
        rows: list[LabelledRow] = []
        for split in SPLITS:
            file = location / LIST.format(split)
            rows += locate(_entries(file, split, known), location / "images", file)
        draws = read_jsonl_draws(location, rows, dataset)
        notes = (*notes, *size_notes(rows, dataset, SPLITS))
        return LabelTable(self.layout, tuple(rows), dataset.classes, notes, draws)


def _entries(file: Path, split: str, known: dict[str, str]) -> list[SplitEntry]:
    found = []
    for where, line in numbered_lines(file):
        image, _, variant = line.partition(" ")
        name = plain(variant.strip())
        if name not in known:
            raise DataError(
                f"{where} in {file.parent} names {name!r}, which is not in variants.txt.",
                hint="A line is the number of an image, a space and a variant.",
            )
        found.append(SplitEntry(split, inside(f"{image}.jpg", where), 0, known[name], where))
    return found
