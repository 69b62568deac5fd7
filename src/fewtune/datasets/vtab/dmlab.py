"""DMLab: how far an object of a maze is, and whether it is worth a reward."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_arrays import Dmlab
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

CLASSES = tuple(f"class {label}" for label in range(6))
FRUIT = (
    "nearby apple/melon",
    "far apple/melon",
    "very far apple/melon",
    "nearby lemon",
    "far lemon",
    "very far lemon",
)
# "postive" is how the source writes it.
REWARD = (
    "close object with postive reward",
    "close object with negative reward",
    "far object with postive reward",
    "far object with negative reward",
    "very far object with postive reward",
    "very far object with negative reward",
)

DATASET = Dataset(
    title="DMLab",
    group="structured",
    licence="not stated",
    citation="""@article{zhai2019visual,
  title = {The Visual Task Adaptation Benchmark},
  author = {Xiaohua Zhai and Joan Puigcerver and Alexander Kolesnikov and others},
  journal = {arXiv:1910.04867},
  year = {2019}
}""",
    homepage="https://github.com/google-research/task_adaptation",
    classes=CLASSES,
    sizes={"train": 65550, "val": 22628, "test": 22735},
    prompt_sets={
        "clip-benchmark": PromptSet(("{}",), dict(zip(CLASSES, FRUIT, strict=True))),
        "peft4clip": PromptSet(
            ("a photo of a {}",),
            {name: f"a {words}" for name, words in zip(CLASSES, REWARD, strict=True)},
        ),
    },
    readers=(
        Tfds("dmlab:2.0.1"),
        VtabLists("dmlab"),
        Dmlab(),
        WebDataset("vtab-dmlab"),
    ),
    default_prompts="clip-benchmark",
    label_rule="As stored; which label means which distance and reward is not published.",
    notes=("class order unproven: zero-shot scores may belong to other classes",),
    downloads=wds("vtab-dmlab"),
)
