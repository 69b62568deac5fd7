"""Oxford-IIIT Pet with CoOp's split: the original test split, training images divided 80/20."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import coop, renamed
from fewtune.datasets.published_files import OXFORD_PETS, split_by_hand
from fewtune.datasets.readers.noah import NoahLists
from fewtune.datasets.readers.torchvision_archive import TorchvisionArchive
from fewtune.datasets.readers.zhou import ZhouSplit
from fewtune.datasets.vtab.pets import CITATION, HOMEPAGE, LICENCE, OPENAI_NAMES, TEMPLATE
from fewtune.datasets.vtab.pets import CLASSES as NAMES

CLASSES = tuple(name.lower().replace(" ", "_") for name in NAMES)

DATASET = Dataset(
    title="Oxford-IIIT Pet",
    group="few-shot",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes={"train": 2944, "val": 736, "test": 3669},
    prompt_sets={
        **coop(TEMPLATE),
        "clip": PromptSet(
            (TEMPLATE,), renamed(CLASSES, [OPENAI_NAMES.get(name, name) for name in NAMES])
        ),
        "clip-benchmark": PromptSet((TEMPLATE,), renamed(CLASSES, NAMES)),
    },
    readers=(
        ZhouSplit(("oxford_pets", "OxfordPets"), "split_zhou_OxfordPets.json", "images"),
        NoahLists("oxford-pets"),
        TorchvisionArchive("OxfordIIITPet"),
    ),
    default_prompts="coop",
    aliases=("oxford_pets", "oxfordpets"),
    by_hand=split_by_hand("split_zhou_OxfordPets.json", "oxford_pets/", "images/ and annotations/"),
    downloads=OXFORD_PETS,
)
