"""smallNORB, elevation: from how high a toy is seen."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_structured import SmallNorb
from fewtune.datasets.readers.tfds import Stored, Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset
from fewtune.datasets.vtab.smallnorb_azimuth import (
    CITATION,
    HOMEPAGE,
    LICENCE,
    NOTE,
    SIZES,
    TEMPLATES,
)

CLASSES = tuple(f"{degrees} degrees" for degrees in range(30, 75, 5))
DATASET = Dataset(
    title="smallNORB elevation",
    group="structured",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=CLASSES,
    sizes=SIZES,
    prompt_sets={
        "clip-benchmark": PromptSet(
            TEMPLATES, {name: str(label) for label, name in enumerate(CLASSES)}
        ),
        "peft4clip": PromptSet(
            ("the camera elevation is {} degrees",),
            {name: name.removesuffix(" degrees") for name in CLASSES},
        ),
    },
    readers=(
        Tfds(
            "smallnorb:2.*.*",
            Stored("label_elevation"),
            slices=SmallNorb.slices,
        ),
        VtabLists("smallnorb_ele", "smallnorb_elevation"),
        SmallNorb("elevation"),
        WebDataset("vtab-smallnorb_label_elevation"),
    ),
    default_prompts="peft4clip",
    aliases=(
        "smallnorb_ele",
        "smallnorb_label_elevation",
        'smallnorb(predicted_attribute="label_elevation")',
    ),
    label_rule="The stored elevation 0 to 8.",
    notes=(NOTE,),
    downloads=wds("vtab-smallnorb_label_elevation"),
)
