"""Describable Textures: 47 kinds of surfaces; VTAB takes the first of its ten folds."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import listed
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_files import DTD
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

CLASSES = listed("dtd")
CITATION = """@inproceedings{cimpoi2014describing,
  title = {Describing Textures in the Wild},
  author = {Mircea Cimpoi and Subhransu Maji and Iasonas Kokkinos and Sammy Mohamed
    and Andrea Vedaldi},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2014}
}"""
LICENCE = "for research purposes"
HOMEPAGE = "https://www.robots.ox.ac.uk/~vgg/data/dtd/"
TEMPLATES = tuple(
    f"a photo of {article} {{}} {kind}."
    for article in ("a", "the")
    for kind in ("texture", "pattern", "thing", "object")
)

DATASET = Dataset(
    title="Describable Textures",
    group="natural",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes={"train": 1880, "val": 1880, "test": 1880},
    prompt_sets={
        "clip-benchmark": PromptSet(TEMPLATES),
        "clip": PromptSet(TEMPLATES),
        "coop": PromptSet(("{} texture.",)),
        "peft4clip": PromptSet(("a photo of a {}",)),
    },
    readers=(
        Tfds("dtd:3.*.*"),
        VtabLists("dtd"),
        DTD,
        WebDataset("vtab-dtd"),
    ),
    default_prompts="clip-benchmark",
    downloads=wds("vtab-dtd"),
)
