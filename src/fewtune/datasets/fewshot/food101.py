"""Food-101: dishes, with noisy training labels."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import coop, listed
from fewtune.datasets.published_files import FOOD101, split_by_hand
from fewtune.datasets.readers.noah import NoahLists
from fewtune.datasets.readers.torchvision_archive import TorchvisionArchive
from fewtune.datasets.readers.zhou import ZhouSplit

TEMPLATE = "a photo of {}, a type of food."

DATASET = Dataset(
    title="Food-101",
    group="few-shot",
    licence="images of Foodspotting, for scientific fair use",
    citation="""@inproceedings{bossard2014food,
  title = {Food-101 -- Mining Discriminative Components with Random Forests},
  author = {Lukas Bossard and Matthieu Guillaumin and Luc {Van Gool}},
  booktitle = {European Conference on Computer Vision},
  year = {2014}
}""",
    homepage="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    classes=listed("food101"),
    sizes={"train": 50500, "val": 20200, "test": 30300},
    prompt_sets={
        **coop(TEMPLATE),
        **dict.fromkeys(("clip", "clip-benchmark"), PromptSet((TEMPLATE,))),
    },
    readers=(
        ZhouSplit(("food-101", "Food101"), "split_zhou_Food101.json", "images"),
        NoahLists("food101"),
        TorchvisionArchive("Food101"),
    ),
    default_prompts="coop",
    aliases=("food101", "food-101"),
    by_hand=split_by_hand("split_zhou_Food101.json", "food-101/", "images/"),
    downloads=FOOD101,
)
