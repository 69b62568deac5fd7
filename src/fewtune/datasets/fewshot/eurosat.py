"""EuroSAT with CoOp's split: half of each class for training."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import coop
from fewtune.datasets.published_files import EUROSAT, split_by_hand
from fewtune.datasets.readers.torchvision_archive import TorchvisionArchive
from fewtune.datasets.readers.zhou import ZhouSplit
from fewtune.datasets.vtab.eurosat import (
    CITATION,
    COOP_NAMES,
    COOP_TEMPLATE,
    HOMEPAGE,
    LICENCE,
    OPENAI_NAMES,
    TEMPLATES,
)

DATASET = Dataset(
    title="EuroSAT",
    group="few-shot",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=tuple(COOP_NAMES.values()),
    sizes={"train": 13500, "val": 5400, "test": 8100},
    prompt_sets={
        **coop(COOP_TEMPLATE),
        **dict.fromkeys(
            ("clip", "clip-benchmark"),
            PromptSet(TEMPLATES, {COOP_NAMES[folder]: n for folder, n in OPENAI_NAMES.items()}),
        ),
    },
    readers=(
        ZhouSplit(("eurosat",), "split_zhou_EuroSAT.json", "2750"),
        TorchvisionArchive("EuroSAT"),
    ),
    default_prompts="coop",
    by_hand=split_by_hand("split_zhou_EuroSAT.json", "eurosat/", "2750/"),
    downloads=EUROSAT,
)
