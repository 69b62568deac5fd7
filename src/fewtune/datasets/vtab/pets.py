"""Oxford-IIIT Pet: 12 breeds of cats and 25 of dogs."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import listed
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_files import PETS
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

CLASSES = listed("pets")
CITATION = """@inproceedings{parkhi2012cats,
  title = {Cats and Dogs},
  author = {Omkar M. Parkhi and Andrea Vedaldi and Andrew Zisserman and C. V. Jawahar},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2012}
}"""
LICENCE = "CC BY-SA 4.0"
HOMEPAGE = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
TEMPLATE = "a photo of a {}, a type of pet."
CATS = (
    "Abyssinian",
    "Bengal",
    "Birman",
    "Bombay",
    "British Shorthair",
    "Egyptian Mau",
    "Maine Coon",
    "Persian",
    "Ragdoll",
    "Russian Blue",
    "Siamese",
    "Sphynx",
)
# OpenAI and TFDS write dogs without capital letters.
OPENAI_NAMES = {name: name.lower() for name in CLASSES if name not in CATS}

DATASET = Dataset(
    title="Oxford-IIIT Pet",
    group="natural",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes={"train": 2944, "val": 736, "test": 3669},
    prompt_sets={
        "clip-benchmark": PromptSet((TEMPLATE,)),
        "clip": PromptSet((TEMPLATE,), OPENAI_NAMES),
        "coop": PromptSet((TEMPLATE,), {name: name.lower() for name in CLASSES}),
        "peft4clip": PromptSet(("a photo of a {}",), OPENAI_NAMES),
    },
    readers=(
        Tfds("oxford_iiit_pet:3.*.*", slices=PETS.slices),
        VtabLists("oxford_iiit_pet", "oxford_pet", "pets"),
        PETS,
        WebDataset("vtab-pets"),
    ),
    default_prompts="clip-benchmark",
    aliases=("oxford_iiit_pet", "oxford_pet", "vtab-oxford_pets"),
    downloads=wds("vtab-pets"),
)
