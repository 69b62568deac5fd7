"""Few-shot lists of 2SFS, next to CoOp's split files.

    ROOT/dtd/split_fewshot/shot_16-seed_1_train.jsonl    and _val.jsonl, but for ImageNet
    {"_impath": "dtd/images/banded/banded_0002.jpg", "_label": 0, "_domain": 0,
     "_classname": "banded"}

Paths are relative to the root of all datasets. 165 lists exist: 11 datasets, seeds 1 to 3, shots
1, 2, 4, 8 and 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewtune.core.errors import DataError
from fewtune.core.task import PublishedDraw
from fewtune.data.label_table import LabelledRow, plain
from fewtune.data.scan import named_files
from fewtune.data.text_files import records
from fewtune.datasets.declaration import Dataset

FOLDER = "split_fewshot"


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
