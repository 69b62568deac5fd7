"""CLEVR, distance: how far the closest object of a rendered scene is from the camera."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_structured import Clevr
from fewtune.datasets.readers.tfds import Tfds, clevr_distance
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset
from fewtune.datasets.vtab.clevr_count import CITATION, HOMEPAGE, LICENCE, SIZES

CLASSES = ("0-8.0", "8.0-8.5", "8.5-9.0", "9.0-9.5", "9.5-10.0", "10.0-100")
# The source has an empty name, "".
WORDS = ("very nearby", "nearby", "near", "", "distant", "very distant")
DATASET = Dataset(
    title="CLEVR distance",
    group="structured",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes=SIZES,
    prompt_sets={
        "clip-benchmark": PromptSet(("{} shapes.",), dict(zip(CLASSES, WORDS, strict=True))),
        "peft4clip": PromptSet(
            ("the closest object is {} away from the camera",),
            {name: f"{name}M" for name in CLASSES},
        ),
    },
    readers=(
        Tfds("clevr:3.*.*", clevr_distance, slices=Clevr.slices),
        VtabLists("clevr_dist", "clevr_distance", "clevr_closest_object_distance"),
        Clevr("distance"),
        WebDataset("vtab-clevr_closest_object_distance"),
    ),
    default_prompts="clip-benchmark",
    aliases=(
        "clevr_dist",
        "clevr_closest_object_distance",
        'clevr(task="closest_object_distance")',
    ),
    label_rule="The interval of the closest object's third pixel coordinate; the upper end belongs "
    "to it.",
    downloads=wds("vtab-clevr_closest_object_distance"),
)
