"""ImageNetV2: a new test set made like the first one; the version with matched frequencies."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset
from fewtune.datasets.fewshot.imagenet import CLASSES, prompt_sets
from fewtune.datasets.published_files import IMAGENET_V2
from fewtune.datasets.readers.imagenet_folders import ImageNetVariant

DATASET = Dataset(
    title="ImageNetV2",
    group="domain-shift",
    licence="MIT (of the authors' repository)",
    citation="""@inproceedings{recht2019imagenet,
  title = {Do {ImageNet} Classifiers Generalize to {ImageNet}?},
  author = {Benjamin Recht and Rebecca Roelofs and Ludwig Schmidt and Vaishaal Shankar},
  booktitle = {International Conference on Machine Learning},
  year = {2019}
}""",
    homepage="https://github.com/modestyachts/ImageNetV2",
    classes=CLASSES,
    sizes={"train": 0, "val": 0, "test": 10000},
    prompt_sets=prompt_sets(CLASSES),
    readers=(ImageNetVariant(("imagenetv2", "imagenetv2-matched-frequency-format-val")),),
    default_prompts="coop",
    aliases=(
        "imagenetv2",
        "imagenetv2-matched-frequency",
        "imagenetv2-matched-frequency-format-val",
    ),
    label_rule="The name of the folder, 0 to 999, is the label.",
    downloads=IMAGENET_V2,
)
