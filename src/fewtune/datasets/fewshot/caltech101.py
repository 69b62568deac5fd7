"""Caltech101 as CoOp has it: 100 categories, without background and without the second faces."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import PHOTO, coop
from fewtune.datasets.published_files import CALTECH101, split_by_hand
from fewtune.datasets.readers.torchvision_archive import TorchvisionArchive
from fewtune.datasets.readers.zhou import ZhouSplit
from fewtune.datasets.vtab.caltech101 import (
    CITATION,
    HOMEPAGE,
    LICENCE,
    OPENAI_NAMES,
    TEMPLATES,
)
from fewtune.datasets.vtab.caltech101 import CLASSES as OF_VTAB

IGNORED = ("background_google", "faces_easy")
RENAMED = {
    "faces": "face",
    "leopards": "leopard",
    "motorbikes": "motorbike",
    "airplanes": "airplane",
}
# Folders are sorted with capital letters first, and three names have one.
CAPITAL = ("faces", "leopards", "motorbikes")
FOLDERS = (*CAPITAL, *(n for n in OF_VTAB if n not in (*CAPITAL, *IGNORED)))

DATASET = Dataset(
    title="Caltech101",
    group="few-shot",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=tuple(RENAMED.get(name, name) for name in FOLDERS),
    sizes={"train": 4128, "val": 1649, "test": 2465},
    prompt_sets={
        **coop(PHOTO),
        **dict.fromkeys(
            ("clip", "clip-benchmark"),
            PromptSet(
                TEMPLATES,
                {RENAMED.get(n, n): OPENAI_NAMES[n] for n in FOLDERS if n in OPENAI_NAMES},
            ),
        ),
    },
    readers=(
        ZhouSplit(
            ("caltech-101", "Caltech101"), "split_zhou_Caltech101.json", "101_ObjectCategories"
        ),
        TorchvisionArchive("Caltech101"),
    ),
    default_prompts="coop",
    aliases=("caltech-101",),
    by_hand=split_by_hand("split_zhou_Caltech101.json", "caltech-101/", "101_ObjectCategories/"),
    downloads=CALTECH101,
)
