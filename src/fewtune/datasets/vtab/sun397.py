"""SUN397: 397 kinds of places."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import PHOTO, listed
from fewtune.datasets.readers.raw_files import Sun397
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists

# In the order of TFDS and of the authors' ClassName.txt, "a/apartment_building/outdoor".
PATHS = listed("sun397")
CLASSES = tuple(" ".join(path.split("/")[1:]).replace("_", " ") for path in PATHS)
CITATION = """@inproceedings{xiao2010sun,
  title = {{SUN} Database: Large-scale Scene Recognition from Abbey to Zoo},
  author = {Jianxiong Xiao and James Hays and Krista A. Ehinger and Aude Oliva
    and Antonio Torralba},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2010}
}"""
LICENCE = "not stated"
HOMEPAGE = "https://vision.princeton.edu/projects/2010/SUN/"
TEMPLATES = (PHOTO, "a photo of the {}.")
COOP_NAMES = tuple(" ".join(reversed(path.split("/")[1:])) for path in PATHS)

DATASET = Dataset(
    title="SUN397",
    group="natural",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes={"train": 76128, "val": 10875, "test": 21750},
    prompt_sets={
        "clip-benchmark": PromptSet(TEMPLATES),
        "clip": PromptSet(TEMPLATES),
        "coop": PromptSet((PHOTO,), dict(zip(CLASSES, COOP_NAMES, strict=True))),
        "peft4clip": PromptSet(("a photo of a {}",)),
    },
    readers=(
        Tfds("sun397/tfds:4.*.*"),
        VtabLists("sun397"),
        Sun397(),
    ),
    default_prompts="clip-benchmark",
    notes=(
        "one image of TFDS (t/track/outdoor/sun_aophkoiosslinihb.jpg) cannot be decoded by all "
        "programs",
    ),
    by_hand="VTAB's split is that of TFDS alone: with tensorflow_datasets, "
    "`tfds build sun397/tfds` downloads 37 GB from the authors and writes the folder that is read.",
)
