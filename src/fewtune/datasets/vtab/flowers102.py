"""Oxford Flowers: 102 flowers common in Britain, with the original splits."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import listed
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_files import FLOWERS102
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

CLASSES = listed("flowers102")
CITATION = """@inproceedings{nilsback2008automated,
  title = {Automated Flower Classification over a Large Number of Classes},
  author = {Maria-Elena Nilsback and Andrew Zisserman},
  booktitle = {Indian Conference on Computer Vision, Graphics and Image Processing},
  year = {2008}
}"""
LICENCE = "not stated"
HOMEPAGE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
TEMPLATE = "a photo of a {}, a type of flower."

DATASET = Dataset(
    title="Oxford Flowers 102",
    group="natural",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes={"train": 1020, "val": 1020, "test": 6149},
    prompt_sets={
        "clip-benchmark": PromptSet((TEMPLATE,)),
        "clip": PromptSet((TEMPLATE,)),
        "coop": PromptSet((TEMPLATE,)),
        "peft4clip": PromptSet(
            ("a photo of a {}",),
            {
                "globe flower": "globe-flower",
                "pink and yellow dahlia": "pink-yellow dahlia?",
                "air plant": "ball moss",
            },
        ),
    },
    readers=(
        Tfds("oxford_flowers102:2.*.*"),
        VtabLists("oxford_flowers102", "oxford_flowers", "flowers102"),
        FLOWERS102,
        WebDataset("vtab-flowers"),
    ),
    default_prompts="clip-benchmark",
    aliases=("oxford_flowers102", "vtab-oxford_flowers", "vtab-flowers"),
    downloads=wds("vtab-flowers"),
)
