"""Stanford Cars: 196 models with make and year."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import PHOTO, coop, listed
from fewtune.datasets.readers.noah import NoahLists
from fewtune.datasets.readers.torchvision_archive import TorchvisionArchive
from fewtune.datasets.readers.zhou import ZhouSplit

NAMES = listed("stanford_cars")


def year_first(name: str) -> str:
    """Return "2012 Acura RL Sedan" for "Acura RL Sedan 2012"."""
    model, _, year = name.rpartition(" ")
    return f"{year} {model}"


OPENAI_NAMES = {year_first(name): name for name in NAMES}
TEMPLATES = (
    PHOTO,
    "a photo of the {}.",
    "a photo of my {}.",
    "i love my {}!",
    "a photo of my dirty {}.",
    "a photo of my clean {}.",
    "a photo of my new {}.",
    "a photo of my old {}.",
)

DATASET = Dataset(
    title="Stanford Cars",
    group="few-shot",
    licence="not stated",
    citation="""@inproceedings{krause2013object,
  title = {3D Object Representations for Fine-Grained Categorization},
  author = {Jonathan Krause and Michael Stark and Jia Deng and Li Fei-Fei},
  booktitle = {4th IEEE Workshop on 3D Representation and Recognition},
  year = {2013}
}""",
    homepage="http://ai.stanford.edu/~jkrause/cars/car_dataset.html",
    classes=tuple(OPENAI_NAMES),
    sizes={"train": 6509, "val": 1635, "test": 8041},
    prompt_sets={
        **coop(PHOTO),
        **dict.fromkeys(("clip", "clip-benchmark"), PromptSet(TEMPLATES, OPENAI_NAMES)),
    },
    readers=(
        ZhouSplit(("stanford_cars", "StanfordCars"), "split_zhou_StanfordCars.json", ""),
        NoahLists("standford-cars"),
        TorchvisionArchive("StanfordCars"),
    ),
    default_prompts="coop",
    aliases=("cars", "stanford_cars", "stanfordcars", "standford_cars", "cars196"),
    by_hand="The authors' page is gone. Expected are stanford_cars/cars_train/, cars_test/, "
    "devkit/cars_meta.mat, cars_test_annos_withlabels.mat, and CoOp's split_zhou_StanfordCars.json "
    "(Google Drive, DATASETS.md of github.com/KaiyangZhou/CoOp).",
)
