"""SUN397 with CoOp's split: the authors' first partition, training images divided 80/20."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import PHOTO, coop, renamed
from fewtune.datasets.published_files import SUN397, split_by_hand
from fewtune.datasets.readers.torchvision_archive import TorchvisionArchive
from fewtune.datasets.readers.zhou import ZhouSplit
from fewtune.datasets.vtab.sun397 import CITATION, COOP_NAMES, HOMEPAGE, LICENCE, TEMPLATES
from fewtune.datasets.vtab.sun397 import CLASSES as OPENAI_NAMES

DATASET = Dataset(
    title="SUN397",
    group="few-shot",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=COOP_NAMES,
    sizes={"train": 15880, "val": 3970, "test": 19850},
    prompt_sets={
        **coop(PHOTO),
        **dict.fromkeys(
            ("clip", "clip-benchmark"), PromptSet(TEMPLATES, renamed(COOP_NAMES, OPENAI_NAMES))
        ),
    },
    readers=(
        ZhouSplit(("sun397", "SUN397"), "split_zhou_SUN397.json", "SUN397"),
        TorchvisionArchive("SUN397"),
    ),
    default_prompts="coop",
    by_hand=split_by_hand("split_zhou_SUN397.json", "sun397/", "SUN397/"),
    downloads=SUN397,
)
