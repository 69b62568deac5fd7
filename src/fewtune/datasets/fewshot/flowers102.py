"""Oxford Flowers with CoOp's split: half of each class for training, not 10 images."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import coop
from fewtune.datasets.published_files import FLOWERS, split_by_hand
from fewtune.datasets.readers.noah import NoahLists
from fewtune.datasets.readers.torchvision_archive import TorchvisionArchive
from fewtune.datasets.readers.zhou import ZhouSplit
from fewtune.datasets.vtab.flowers102 import CITATION, HOMEPAGE, LICENCE, TEMPLATE
from fewtune.datasets.vtab.flowers102 import CLASSES as NAMES

OPENAI_NAMES = {
    "globe-flower": "globe flower",
    "pink-yellow dahlia": "pink and yellow dahlia",
    "ball moss": "air plant",
}
COOP_NAMES = {theirs: ours for ours, theirs in OPENAI_NAMES.items()}

DATASET = Dataset(
    title="Oxford Flowers 102",
    group="few-shot",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=tuple(COOP_NAMES.get(name, name) for name in NAMES),
    sizes={"train": 4093, "val": 1633, "test": 2463},
    prompt_sets={
        **coop(TEMPLATE),
        **dict.fromkeys(("clip", "clip-benchmark"), PromptSet((TEMPLATE,), OPENAI_NAMES)),
    },
    readers=(
        ZhouSplit(("oxford_flowers", "Flower102"), "split_zhou_OxfordFlowers.json", "jpg"),
        NoahLists("oxford-flowers102"),
        TorchvisionArchive("Flowers102"),
    ),
    default_prompts="coop",
    aliases=("oxford_flowers", "oxfordflowers", "flower102", "flowers"),
    by_hand=split_by_hand("split_zhou_OxfordFlowers.json", "oxford_flowers/", "jpg/"),
    downloads=FLOWERS,
)
