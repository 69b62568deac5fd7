"""CoOp's folders, with the split files of Zhou et al. next to the images.

    ROOT/dtd/split_zhou_DescribableTextures.json    train, val and test images by path
    ROOT/dtd/images/banded/banded_0002.jpg
    ROOT/dtd/split_fewshot/shot_1-seed_1_train.jsonl    few-shot lists of 2SFS, where there are any

CLIP-LoRA uses the same files in folders of other names. Rows keep the order of the file, since the
papers' draws depend on it. Classes are told by their names, so a file that numbers them in another
way than the declaration gives the same labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewtune.core.errors import DataError, did_you_mean
from fewtune.core.naming import counted
from fewtune.data.file_names import SPLITS
from fewtune.data.label_table import LabelTable
from fewtune.data.split_json import class_names, locate, read_split_json
from fewtune.data.text_files import fold_name
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers.few_shot_lists import read_jsonl_draws
from fewtune.datasets.readers.reader_tools import find_folder, size_notes


@dataclass(frozen=True)
class ZhouSplit:
    """CoOp's folder of a dataset.

    Attributes:
        images: Folder, relative to it, to which paths in the split file are relative.
    """

    folders: tuple[str, ...]
    split_file: str
    images: str

    layout = "CoOp folder with split file"

    def find(self, root: Path) -> Path | None:
        """Return the folder that holds the split file."""
        return find_folder(root, self.folders, self.split_file)

    def read(self, location: Path, dataset: Dataset, subset: Subset) -> LabelTable:
        """Return the images in the order of the split file, and the few-shot lists next to it."""
        file = location / self.split_file
        entries = read_split_json(file)
        names, notes = match_classes(class_names(entries, file), dataset, file)
        named = [replace(entry, name=names[entry.label]) for entry in entries]
        rows = tuple(locate(named, location / self.images, file))
        draws = read_jsonl_draws(location, rows, dataset)
        notes = (*notes, *size_notes(rows, dataset, SPLITS))
        return LabelTable(self.layout, rows, dataset.classes, notes, draws)


def match_classes(
    names: Sequence[str], dataset: Dataset, file: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the declared class for each label of a file, and notes.

    Case, "_" and "-" make no difference. A name that is not declared at all is taken to be another
    spelling of the class with the same label, if no other name is that class's.

    Raises:
        DataError: The file has another number of classes, or a name belongs to no class.
    """
    if len(names) != len(dataset.classes):
        raise DataError(
            f"{file} has {len(names)} classes, but {dataset.title} has {len(dataset.classes)}.",
            hint="Check that this is the split file of that dataset.",
        )
    known = {fold_name(name): name for name in dataset.classes}
    found = [known.get(fold_name(name)) for name in names]
    respelt = []
    for label, name in enumerate(names):
        if found[label] is None:
            if dataset.classes[label] in found:
                raise DataError(
                    f"{file} names class {name!r}, which {dataset.title} does not have.",
                    hint=did_you_mean(name, dataset.classes),
                )
            respelt.append(f"{name!r} is {dataset.classes[label]!r}")
    matched = tuple(
        dataset.classes[label] if name is None else name for label, name in enumerate(found)
    )
    if len(set(matched)) != len(matched):
        raise DataError(f"{file} has two names for one class of {dataset.title}.")
    notes = []
    if respelt:
        shown = ", ".join(respelt[:3]) + (", ..." if len(respelt) > 3 else "")
        kinds = counted(len(respelt), "class is", "classes are")
        notes.append(f"{kinds} spelt in another way in {file.name}: {shown}")
    if matched != dataset.classes:
        notes.append(f"{file.name} numbers the classes in another order; names decide")
    return matched, tuple(notes)
