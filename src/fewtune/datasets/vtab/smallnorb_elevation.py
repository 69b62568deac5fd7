"""smallNORB, elevation: from how high a toy is seen."""

from __future__ import annotations

from fewtune.data.declaration import Dataset, Wording
from fewtune.data.readers.list_folder import VtabLists
from fewtune.data.readers.raw_structured import SmallNorb
from fewtune.data.readers.tfds import Stored, Tfds
from fewtune.data.readers.webdataset import WebDataset
from fewtune.datasets.downloads import wds
from fewtune.datasets.vtab.smallnorb_azimuth import (
    CITATION,
    HOMEPAGE,
    LICENCE,
    NOTE,
    SIZES,
    SLICES,
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
    wordings={
        "clip-benchmark": Wording(
            TEMPLATES, {name: str(label) for label, name in enumerate(CLASSES)}
        ),
        "seed": Wording(
            ("the camera elevation is {} degrees",),
            {name: name.removesuffix(" degrees") for name in CLASSES},
        ),
    },
    readers=(
        Tfds(
            "smallnorb:2.*.*",
            Stored("label_elevation"),
            slices=SLICES,
        ),
        VtabLists("smallnorb_ele", "smallnorb_elevation"),
        SmallNorb("elevation"),
        WebDataset("vtab-smallnorb_label_elevation"),
    ),
    default_wording="seed",
    aliases=(
        "smallnorb_ele",
        "smallnorb_label_elevation",
        'smallnorb(predicted_attribute="label_elevation")',
    ),
    label_rule="The stored elevation 0 to 8.",
    notes=(NOTE,),
    downloads=wds("vtab-smallnorb_label_elevation"),
)
