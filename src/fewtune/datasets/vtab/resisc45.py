"""NWPU-RESISC45: 45 kinds of scenes seen from above."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import listed
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_files import RESISC45
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

OPENAI_TEMPLATES = tuple(
    f"{kind} of{article} {{}}."
    for article in ("", " a", " the")
    for kind in (
        "satellite imagery",
        "aerial imagery",
        "satellite photo",
        "aerial photo",
        "satellite view",
        "aerial view",
    )
)

DATASET = Dataset(
    title="RESISC45",
    group="specialised",
    licence="not stated",
    citation="""@article{cheng2017remote,
  title = {Remote Sensing Image Scene Classification: Benchmark and State of the Art},
  author = {Gong Cheng and Junwei Han and Xiaoqiang Lu},
  journal = {Proceedings of the IEEE},
  volume = {105},
  number = {10},
  pages = {1865--1883},
  year = {2017}
}""",
    homepage="https://doi.org/10.1109/JPROC.2017.2675998",
    classes=listed("resisc45"),
    sizes={"train": 18900, "val": 6300, "test": 6300},
    prompt_sets={
        "clip-benchmark": PromptSet(
            (
                "a sattelite image of {}",
                "an aerial view of {}",
                "a sattelite photo of {}",
                "{} from above",
            )
        ),
        "clip": PromptSet(OPENAI_TEMPLATES),
        "peft4clip": PromptSet(("satellite imagery of {}",)),
    },
    readers=(
        Tfds("resisc45:3.*.*", slices=RESISC45.slices),
        VtabLists("resisc45"),
        RESISC45,
        WebDataset("vtab-resisc45"),
    ),
    default_prompts="clip-benchmark",
    by_hand="The authors publish NWPU-RESISC45.rar through a page that asks for a browser. Unpack "
    "it to resisc45/NWPU-RESISC45/CLASS/CLASS_001.jpg.",
    downloads=wds("vtab-resisc45"),
)
