"""dSprites, location: where a white shape stands from left to right, in 16 steps."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_structured import DSprites
from fewtune.datasets.readers.regenerated import RegeneratedDSprites
from fewtune.datasets.readers.tfds import Stored, Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset
from fewtune.datasets.vtab_labels import dsprites_location

POSITIONS = 32
# Two of the 32 positions per class, written as shares of the way.
CLASSES = tuple(
    f"x {low / (POSITIONS - 1):.2f}-{(low + 1) / (POSITIONS - 1):.2f}"
    for low in range(0, POSITIONS, 2)
)
CITATION = """@misc{matthey2017dsprites,
  title = {{dSprites}: Disentanglement Testing Sprites Dataset},
  author = {Loic Matthey and Irina Higgins and Demis Hassabis and Alexander Lerchner},
  howpublished = {https://github.com/deepmind/dsprites-dataset},
  year = {2017}
}"""
LICENCE = "zlib/libpng (of the program that drew it)"
HOMEPAGE = "https://github.com/google-deepmind/dsprites-dataset"
SIZES = {"train": 589824, "val": 73728, "test": 73728}

DATASET = Dataset(
    title="dSprites location",
    group="structured",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes=SIZES,
    prompt_sets={
        "peft4clip": PromptSet(
            ("the shape is located at x_position {}",),
            {name: f"{index / 15:.3f}" for index, name in enumerate(CLASSES)},
        ),
    },
    readers=(
        Tfds(
            "dsprites:2.*.*",
            Stored("label_x_position", dsprites_location),
            slices=DSprites.slices,
            zero_one=True,
        ),
        VtabLists("dsprites_loc", "dsprites_location", "dSprites_location", "dsprites_position"),
        DSprites("location"),
        WebDataset("vtab-dsprites_label_x_position", dsprites_location),
        RegeneratedDSprites("location"),
    ),
    default_prompts="peft4clip",
    aliases=(
        "dsprites_loc",
        "dsprites_position",
        "dsprites_label_x_position",
        'dsprites(predicted_attribute="label_x_position",num_classes=16)',
    ),
    label_rule="The position 0 to 31 halved and rounded down.",
    downloads=wds("vtab-dsprites_label_x_position"),
)
