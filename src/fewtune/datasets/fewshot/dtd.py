"""Describable Textures with CoOp's split: half of each class for training."""

from __future__ import annotations

from fewtune.data.declaration import Dataset, Wording
from fewtune.data.readers.torchvision_archive import TorchvisionArchive
from fewtune.data.readers.zhou import ZhouSplit
from fewtune.datasets.downloads import DTD
from fewtune.datasets.vtab.dtd import CITATION, CLASSES, HOMEPAGE, LICENCE, TEMPLATES
from fewtune.datasets.words import coop

DATASET = Dataset(
    title="Describable Textures",
    group="few-shot",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes={"train": 2820, "val": 1128, "test": 1692},
    wordings={
        **coop("{} texture."),
        "clipfit": Wording(("a photo of a {}, a type of texture.",)),
        **dict.fromkeys(("clip", "clip-benchmark"), Wording(TEMPLATES)),
    },
    readers=(
        ZhouSplit(("dtd", "DTD"), "split_zhou_DescribableTextures.json", "images"),
        TorchvisionArchive("DTD"),
    ),
    default_wording="coop",
    aliases=("describabletextures", "describable_textures"),
    by_hand="CoOp publishes split_zhou_DescribableTextures.json on Google Drive (DATASETS.md of "
    "github.com/KaiyangZhou/CoOp). Put it into dtd/, beside images/.",
    downloads=DTD,
)
