"""smallNORB, azimuth: from which side a toy is seen."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_structured import SmallNorb
from fewtune.datasets.readers.tfds import Stored, Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

CLASSES = tuple(f"{degrees} degrees" for degrees in range(0, 360, 20))
CITATION = """@inproceedings{lecun2004learning,
  title = {Learning Methods for Generic Object Recognition with Invariance to Pose and Lighting},
  author = {Yann LeCun and Fu Jie Huang and L{\\'e}on Bottou},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2004}
}"""
LICENCE = "for research purposes"
HOMEPAGE = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"
SIZES = {"train": 24300, "val": 12150, "test": 12150}
TEMPLATES = (
    "an object rotated at {}",
    "something rotated at {}",
    "{} rotation",
    "something at a {} angle",
)
NOTE = "validation images show toys of the test split"

DATASET = Dataset(
    title="smallNORB azimuth",
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
            ("the camera azimuth is {} degrees",),
            {name: name.removesuffix(" degrees") for name in CLASSES},
        ),
    },
    readers=(
        Tfds("smallnorb:2.*.*", Stored("label_azimuth"), slices=SmallNorb.slices),
        VtabLists("smallnorb_azi", "smallnorb_azimuth"),
        SmallNorb("azimuth"),
        WebDataset("vtab-smallnorb_label_azimuth"),
    ),
    default_prompts="peft4clip",
    aliases=(
        "smallnorb_azi",
        "smallnorb_label_azimuth",
        'smallnorb(predicted_attribute="label_azimuth")',
    ),
    label_rule="The stored azimuth 0, 2, .., 34 halved.",
    notes=(NOTE,),
    downloads=wds("vtab-smallnorb_label_azimuth"),
)
