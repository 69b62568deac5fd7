"""dSprites, orientation: how far a white shape is turned, in 16 steps."""

from __future__ import annotations

from itertools import pairwise

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_structured import DSprites
from fewtune.datasets.readers.regenerated import RegeneratedDSprites
from fewtune.datasets.readers.tfds import Stored, Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset
from fewtune.datasets.vtab.dsprites_location import CITATION, HOMEPAGE, LICENCE, SIZES
from fewtune.datasets.vtab_labels import dsprites_orientation

ORIENTATIONS = 40
STEP_DEGREES = 360 / (ORIENTATIONS - 1)
# Three and two of the 40 orientations per class in turn.
FIRST = tuple((5 * label + 1) // 2 for label in range(17))
CLASSES = tuple(
    f"{first * STEP_DEGREES:.0f}-{(after - 1) * STEP_DEGREES:.0f} degrees"
    for first, after in pairwise(FIRST)
)
DATASET = Dataset(
    title="dSprites orientation",
    group="structured",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes=SIZES,
    prompt_sets={
        "peft4clip": PromptSet(
            ("the shape oriented at {}",),
            {name: f"{24 * label} degrees" for label, name in enumerate(CLASSES)},
        ),
    },
    readers=(
        Tfds(
            "dsprites:2.*.*",
            Stored("label_orientation", dsprites_orientation),
            slices=DSprites.slices,
            zero_one=True,
        ),
        VtabLists("dsprites_ori", "dsprites_orientation", "dSprites_orientation"),
        DSprites("orientation"),
        WebDataset("vtab-dsprites_label_orientation", dsprites_orientation),
        RegeneratedDSprites("orientation"),
    ),
    default_prompts="peft4clip",
    aliases=(
        "dsprites_ori",
        "dsprites_label_orientation",
        'dsprites(predicted_attribute="label_orientation",num_classes=16)',
    ),
    label_rule="The orientation 0 to 39 divided by 2.5 and rounded down.",
    notes=(
        "squares and ellipses look alike after a quarter and a half turn, and orientation 39 looks "
        "like 0: no classifier can reach 100 %",
    ),
    downloads=wds("vtab-dsprites_label_orientation"),
)
