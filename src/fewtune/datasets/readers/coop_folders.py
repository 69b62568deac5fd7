"""CoOp's folders, with the split files of Zhou et al. next to the images.

    ROOT/dtd/split_zhou_DescribableTextures.json    train, val and test images by path
    ROOT/dtd/images/banded/banded_0002.jpg
    ROOT/dtd/split_fewshot/shot_16-seed_1_train.jsonl    and _val.jsonl, but for ImageNet

FGVC-Aircraft has its own lists, which CoOp uses as they are. The archive, and torchvision, have the
same files in fgvc-aircraft-2013b/data.

    ROOT/fgvc_aircraft/images_variant_train.txt    "0034309 Boeing 707-320"; val and test likewise
    ROOT/fgvc_aircraft/variants.txt                one class per line
    ROOT/fgvc_aircraft/images/0034309.jpg

Lists in `split_fewshot` are those of 2SFS: 165, of 11 datasets, seeds 1 to 3, shots 1, 2, 4, 8 and
16. Their paths are relative to the root of all datasets.

    {"_impath": "dtd/images/banded/banded_0002.jpg", "_label": 0, "_domain": 0,
     "_classname": "banded"}

CLIP-LoRA uses the same files in folders of other names. Rows keep the order of the file, since the
papers' draws depend on it. Classes are told by their names, so a file that numbers them in another
way than the declaration gives the same labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewtune.core.errors import DataError, did_you_mean
from fewtune.core.naming import counted
from fewtune.core.task import PublishedDraw
from fewtune.data.file_names import SPLITS
from fewtune.data.label_table import LabelledRow, LabelTable, plain
from fewtune.data.layouts.split_file import SplitEntry, class_names, inside, locate, read_split_json
from fewtune.data.scan import named_files
from fewtune.data.text_files import fold_name, numbered_lines, read_class_names, records
from fewtune.datasets.declaration import Dataset, Subset
from fewtune.datasets.readers.reader_tools import find_folder, size_notes

FOLDER = "split_fewshot"
LIST = "images_variant_{}.txt"


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


def read_jsonl_draws(
    location: Path, rows: Sequence[LabelledRow], dataset: Dataset
) -> tuple[PublishedDraw, ...]:
    """Return the few-shot lists in a dataset's folder, by shots and seed.

    Raises:
        DataError: A list is malformed, or names an image that is not among the training and
            validation images or has another label there.
    """
    folder = location / FOLDER
    if not folder.is_dir():
        return ()
    by_source = {str(row.source): row for row in rows if row.split != "test"}
    draws = []
    for name, train in named_files(folder, r"shot_(\d{1,4})-seed_(\d{1,9})_train\.jsonl"):
        val = folder / train.name.replace("_train", "_val")
        draws.append(
            PublishedDraw(
                int(name[1]),
                int(name[2]),
                _keys(train, location, by_source, dataset),
                _keys(val, location, by_source, dataset) if val.is_file() else None,
            )
        )
    return tuple(sorted(draws, key=lambda draw: (draw.shots, draw.seed)))


def _keys(
    file: Path, location: Path, rows: dict[str, LabelledRow], dataset: Dataset
) -> tuple[str, ...]:
    keys = []
    for record in records(file):
        where = f"{file} line {record.line}"
        path, label = record.values.get("_impath"), record.values.get("_label")
        if not isinstance(path, str) or not isinstance(label, int):
            raise DataError(f"{where} has no '_impath' and '_label'.")
        # The first folder is the dataset's; people rename it, so it is not compared.
        inner = plain(path.replace("\\", "/")).strip("/").partition("/")[2]
        row = rows.get(str(location / inner))
        if row is None:
            raise DataError(
                f"{where} names '{plain(path)}', which is not among the training and validation "
                f"images in {location}.",
                hint="The lists belong to the split file of CoOp; are both of the same dataset?",
            )
        if not 0 <= label < len(dataset.classes) or dataset.classes[label] != row.class_name:
            raise DataError(
                f"{where} gives '{row.key}' label {label}, but its class is {row.class_name!r}."
            )
        keys.append(row.key)
    return tuple(keys)


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
