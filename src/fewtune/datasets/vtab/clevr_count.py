"""CLEVR, counting: how many objects stand in a rendered scene."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_structured import Clevr
from fewtune.datasets.readers.tfds import Tfds, clevr_count
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

CLASSES = tuple(map(str, range(3, 11)))
WORDS = ("three", "four", "five", "six", "seven", "eight", "nine", "ten")
CITATION = """@inproceedings{johnson2017clevr,
  title = {{CLEVR}: A Diagnostic Dataset for Compositional Language and Elementary Visual
    Reasoning},
  author = {Justin Johnson and Bharath Hariharan and Laurens van der Maaten and Li Fei-Fei
    and C. Lawrence Zitnick and Ross Girshick},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2017}
}"""
LICENCE = "CC BY 4.0"
HOMEPAGE = "https://cs.stanford.edu/people/jcjohns/clevr/"
SIZES = {"train": 63000, "val": 7000, "test": 15000}

DATASET = Dataset(
    title="CLEVR count",
    group="structured",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes=SIZES,
    prompt_sets={
        "clip-benchmark": PromptSet(
            ("a picture of {} objects",), dict(zip(CLASSES, WORDS, strict=True))
        ),
        "clip": PromptSet(("a photo of {} objects.",)),
        "peft4clip": PromptSet(
            ("there are {} objects in the image",),
            {number: f"{word} things" for number, word in zip(CLASSES, WORDS, strict=True)},
        ),
    },
    readers=(
        Tfds("clevr:3.*.*", clevr_count, slices=Clevr.slices),
        VtabLists("clevr_count", "clevr_count_all"),
        Clevr("count"),
        WebDataset("vtab-clevr_count_all"),
    ),
    default_prompts="clip-benchmark",
    aliases=("clevr_count_all", 'clevr(task="count_all")'),
    label_rule="Number of objects minus 3.",
    downloads=wds("vtab-clevr_count_all"),
)
