"""Describable Textures with CoOp's split: half of each class for training."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import coop
from fewtune.datasets.published_files import DTD, split_by_hand
from fewtune.datasets.readers.torchvision_archive import TorchvisionArchive
from fewtune.datasets.readers.zhou import ZhouSplit
from fewtune.datasets.vtab.dtd import CITATION, CLASSES, HOMEPAGE, LICENCE, TEMPLATES

DATASET = Dataset(
    title="Describable Textures",
    group="few-shot",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes={"train": 2820, "val": 1128, "test": 1692},
    prompt_sets={
        **coop("{} texture."),
        "clipfit": PromptSet(("a photo of a {}, a type of texture.",)),
        **dict.fromkeys(("clip", "clip-benchmark"), PromptSet(TEMPLATES)),
    },
    readers=(
        ZhouSplit(("dtd", "DTD"), "split_zhou_DescribableTextures.json", "images"),
        TorchvisionArchive("DTD"),
    ),
    default_prompts="coop",
    aliases=("describabletextures", "describable_textures"),
    by_hand=split_by_hand("split_zhou_DescribableTextures.json", "dtd/", "images/"),
    downloads=DTD,
)
