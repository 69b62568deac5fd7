"""Caltech101 as VTAB has it: 101 categories of objects, and background clutter."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import PHOTO, listed
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_files import Caltech101
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset
from fewtune.datasets.vtab_slices import Slices

CLASSES = listed("caltech101")
CITATION = """@inproceedings{feifei2004learning,
  title = {Learning Generative Visual Models from Few Training Examples},
  author = {Li Fei-Fei and Rob Fergus and Pietro Perona},
  booktitle = {CVPR Workshop on Generative-Model Based Vision},
  year = {2004}
}"""
LICENCE = "CC BY 4.0"
HOMEPAGE = "https://data.caltech.edu/records/mzrjq-6wc02"
PATTERNS = (
    "a photo of {} {{}}.",
    "a painting of {} {{}}.",
    "{} plastic {{}}.",
    "a sculpture of {} {{}}.",
    "a sketch of {} {{}}.",
    "a tattoo of {} {{}}.",
    "{} toy {{}}.",
    "a rendition of {} {{}}.",
    "{} embroidered {{}}.",
    "{} cartoon {{}}.",
    "{} {{}} in a video game.",
    "{} plushie {{}}.",
    "{} origami {{}}.",
    "art of {} {{}}.",
    "graffiti of {} {{}}.",
    "a drawing of {} {{}}.",
    "a doodle of {} {{}}.",
)
TEMPLATES = tuple(pattern.format(article) for article in ("a", "the") for pattern in PATTERNS)
OPENAI_NAMES = {
    "airplanes": "airplane",
    "background_google": "background",
    "car_side": "side of a car",
    "cougar_body": "body of a cougar cat",
    "cougar_face": "face of a cougar cat",
    "crocodile_head": "head of a  crocodile",
    "faces": "off-center face",
    "faces_easy": "centered face",
    "flamingo_head": "head of a flamingo",
    "leopards": "leopard",
    "motorbikes": "motorbike",
    "snoopy": "snoopy (cartoon beagle)",
    "yin_yang": "yin and yang symbol",
}
SLICES = Slices("train[:90%]", "train[90%:]", "test")

DATASET = Dataset(
    title="Caltech101",
    group="natural",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes={"train": 2754, "val": 306, "test": 6084},
    other_sizes={"train": (2753,), "test": (6085,)},
    prompt_sets={
        "clip-benchmark": PromptSet(TEMPLATES, OPENAI_NAMES),
        "clip": PromptSet(TEMPLATES, OPENAI_NAMES),
        "coop": PromptSet((PHOTO,)),
        "peft4clip": PromptSet(("a photo of a {}",)),
    },
    readers=(
        Tfds("caltech101:3.*.*", slices=SLICES),
        VtabLists("caltech101"),
        Caltech101(),
        WebDataset("vtab-caltech101"),
    ),
    default_prompts="clip-benchmark",
    aliases=("vtab-caltech-101",),
    downloads=wds("vtab-caltech101"),
)
