"""Diabetic Retinopathy Detection: photographs of the back of the eye, graded by a clinician."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_files import Retinopathy
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

DATASET = Dataset(
    title="Diabetic Retinopathy",
    group="specialised",
    licence="rules of the Kaggle competition",
    citation="""@misc{kaggle2015diabetic,
  title = {Diabetic Retinopathy Detection},
  author = {{Kaggle and EyePACS}},
  howpublished = {https://www.kaggle.com/c/diabetic-retinopathy-detection},
  year = {2015}
}""",
    homepage="https://www.kaggle.com/c/diabetic-retinopathy-detection",
    classes=(
        "no diabetic retinopathy",
        "mild diabetic retinopathy",
        "moderate diabetic retinopathy",
        "severe diabetic retinopathy",
        "proliferative diabetic retinopathy",
    ),
    sizes={"train": 35126, "val": 10906, "test": 42670},
    prompt_sets={"clip-benchmark": PromptSet(("a retinal image with {}",))},
    readers=(
        Tfds("diabetic_retinopathy_detection/btgraham-300:3.*.*"),
        VtabLists("diabetic_retinopathy", "retinopathy"),
        Retinopathy(),
        WebDataset("vtab-diabetic_retinopathy"),
    ),
    default_prompts="clip-benchmark",
    aliases=(
        "diabetic_retinopathy",
        "diabetic_retinopathy_detection",
        'diabetic_retinopathy(config="btgraham-300")',
    ),
    label_rule="The grade: 0 none, 1 mild, 2 moderate, 3 severe, 4 proliferative.",
    notes=("about 74 % of the images have grade 0: read mean per-class recall beside accuracy",),
    by_hand="Kaggle asks for an account: https://www.kaggle.com/c/diabetic-retinopathy-detection. "
    "Expected are train/, test/, trainLabels.csv and retinopathy_solution.csv.",
    downloads=wds("vtab-diabetic_retinopathy"),
)
