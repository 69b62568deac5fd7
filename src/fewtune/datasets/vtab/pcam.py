"""PatchCamelyon: patches of lymph node sections, with and without metastases."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_arrays import PatchCamelyon
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

CLASSES = ("lymph node", "lymph node containing metastatic tumor tissue")

DATASET = Dataset(
    title="PatchCamelyon",
    group="specialised",
    licence="CC0",
    citation="""@inproceedings{veeling2018rotation,
  title = {Rotation Equivariant {CNNs} for Digital Pathology},
  author = {Bastiaan S. Veeling and Jasper Linmans and Jim Winkens and Taco Cohen and Max Welling},
  booktitle = {Medical Image Computing and Computer Assisted Intervention},
  year = {2018}
}""",
    homepage="https://github.com/basveeling/pcam",
    classes=CLASSES,
    sizes={"train": 262144, "val": 32768, "test": 32768},
    prompt_sets={
        "clip-benchmark": PromptSet(
            ("a histopathology slide showing {}", "histopathology image of {}")
        ),
        "clip": PromptSet(("this is a photo of {}",)),
        "peft4clip": PromptSet(
            ("a photo of a {}",),
            dict(zip(CLASSES, ("normal lymph node tissue", "lymph node metastasis"), strict=True)),
        ),
    },
    readers=(
        Tfds("patch_camelyon:2.*.*"),
        VtabLists("patch_camelyon", "pcam", "camelyon"),
        PatchCamelyon(),
        WebDataset("vtab-pcam"),
    ),
    default_prompts="clip-benchmark",
    aliases=("patch_camelyon", "camelyon"),
    label_rule="1 if the centre of 32 x 32 pixels holds tumour tissue, else 0.",
    downloads=wds("vtab-pcam"),
)
