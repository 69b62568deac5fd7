"""ImageNet-Sketch: black-and-white drawings of ImageNet's classes."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset
from fewtune.datasets.fewshot.imagenet import CLASSES, prompt_sets
from fewtune.datasets.published_files import IMAGENET_SKETCH
from fewtune.datasets.readers.imagenet_folders import ImageNetVariant

DATASET = Dataset(
    title="ImageNet-Sketch",
    group="domain-shift",
    licence="MIT (of the authors' repository)",
    citation="""@inproceedings{wang2019learning,
  title = {Learning Robust Global Representations by Penalizing Local Predictive Power},
  author = {Haohan Wang and Songwei Ge and Zachary Lipton and Eric P. Xing},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2019}
}""",
    homepage="https://github.com/HaohanWang/ImageNet-Sketch",
    classes=CLASSES,
    sizes={"train": 0, "val": 0, "test": 50889},
    prompt_sets=prompt_sets(CLASSES),
    readers=(ImageNetVariant(("imagenet-sketch", "sketch")),),
    default_prompts="coop",
    aliases=("imagenet-sketch", "imagenetsketch"),
    by_hand="The authors publish ImageNet-Sketch.zip on Google Drive "
    "(https://github.com/HaohanWang/ImageNet-Sketch). Unpack it to "
    "imagenet-sketch/images/n01440764/ and so on.",
    downloads=IMAGENET_SKETCH,
)
