"""Describable Textures: 47 kinds of surfaces; VTAB takes the first of its ten folds."""

from __future__ import annotations

from fewtune.data.declaration import Dataset, Wording
from fewtune.data.readers.list_folder import VtabLists
from fewtune.data.readers.raw_files import DTD
from fewtune.data.readers.tfds import Tfds
from fewtune.data.readers.webdataset import WebDataset
from fewtune.datasets.downloads import wds
from fewtune.datasets.words import listed

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
    wordings={
        "clip-benchmark": Wording(TEMPLATES),
        "clip": Wording(TEMPLATES),
        "coop": Wording(("{} texture.",)),
        "seed": Wording(("a photo of a {}",)),
    },
    readers=(
        Tfds("dtd:3.*.*"),
        VtabLists("dtd"),
        DTD,
        WebDataset("vtab-dtd"),
    ),
    default_wording="clip-benchmark",
    downloads=wds("vtab-dtd"),
)
