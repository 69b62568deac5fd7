"""CIFAR-100: small photographs of 100 kinds of things."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import listed
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_arrays import CIFAR100_BINARY, CIFAR100_PYTHON
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

PATTERNS = (
    "a photo of a {}.",
    "a blurry photo of a {}.",
    "a black and white photo of a {}.",
    "a low contrast photo of a {}.",
    "a high contrast photo of a {}.",
    "a bad photo of a {}.",
    "a good photo of a {}.",
    "a photo of a small {}.",
    "a photo of a big {}.",
)
TEMPLATES = (*PATTERNS, *(pattern.replace("of a", "of the") for pattern in PATTERNS))

DATASET = Dataset(
    title="CIFAR-100",
    group="natural",
    licence="not stated",
    citation="""@techreport{krizhevsky2009learning,
  title = {Learning Multiple Layers of Features from Tiny Images},
  author = {Alex Krizhevsky},
  institution = {University of Toronto},
  year = {2009}
}""",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    classes=listed("cifar100"),
    sizes={"train": 45000, "val": 5000, "test": 10000},
    prompt_sets={
        "clip-benchmark": PromptSet(TEMPLATES),
        "clip": PromptSet(TEMPLATES),
        "peft4clip": PromptSet(("a photo of a {}",)),
    },
    readers=(
        Tfds("cifar100:3.*.*", slices=CIFAR100_BINARY.slices),
        VtabLists("cifar", "cifar100"),
        CIFAR100_BINARY,
        CIFAR100_PYTHON,
        WebDataset("vtab-cifar100"),
    ),
    default_prompts="clip-benchmark",
    aliases=("cifar", "cifar(num_classes=100)"),
    downloads=wds("vtab-cifar100"),
)
