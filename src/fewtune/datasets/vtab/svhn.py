"""Street View House Numbers: cropped digits."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_arrays import SVHN
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

CLASSES = tuple(map(str, range(10)))
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

DATASET = Dataset(
    title="SVHN",
    group="natural",
    licence="non-commercial use only",
    citation="""@inproceedings{netzer2011reading,
  title = {Reading Digits in Natural Images with Unsupervised Feature Learning},
  author = {Yuval Netzer and Tao Wang and Adam Coates and Alessandro Bissacco and Bo Wu
    and Andrew Y. Ng},
  booktitle = {NIPS Workshop on Deep Learning and Unsupervised Feature Learning},
  year = {2011}
}""",
    homepage="http://ufldl.stanford.edu/housenumbers/",
    classes=CLASSES,
    sizes={"train": 65931, "val": 7326, "test": 26032},
    prompt_sets={
        "clip-benchmark": PromptSet(
            (
                "a photo of the number {} written on a sign",
                "an outdoor house number {}",
                "the number {} in the center of the image",
                "an outdoor number {} writte on a sign",
                "an outdoor number {}",
                "a centered image of the number {}",
            ),
            dict(zip(CLASSES, WORDS, strict=True)),
        ),
        "peft4clip": PromptSet(("a photo of a digital number {}",)),
    },
    readers=(
        Tfds("svhn_cropped:3.*.*", slices=SVHN.slices),
        VtabLists("svhn", "svhn_cropped"),
        SVHN,
        WebDataset("vtab-svhn"),
    ),
    default_prompts="clip-benchmark",
    aliases=("svhncropped", "svhn_cropped"),
    label_rule="The digit in the middle of the picture.",
    downloads=wds("vtab-svhn"),
)
