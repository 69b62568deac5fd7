"""ImageNet-A: photographs that fooled a ResNet-50, of 200 of ImageNet's classes."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset
from fewtune.datasets.fewshot.imagenet import CLASSES as ALL
from fewtune.datasets.fewshot.imagenet import WNIDS, prompt_sets
from fewtune.datasets.prompts import listed
from fewtune.datasets.published_files import IMAGENET_A
from fewtune.datasets.readers.imagenet_folders import ImageNetVariant

CLASSES = tuple(ALL[WNIDS.index(wnid)] for wnid in listed("imagenet_a"))

DATASET = Dataset(
    title="ImageNet-A",
    group="domain-shift",
    licence="MIT (of the authors' repository)",
    citation="""@inproceedings{hendrycks2021natural,
  title = {Natural Adversarial Examples},
  author = {Dan Hendrycks and Kevin Zhao and Steven Basart and Jacob Steinhardt and Dawn Song},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2021}
}""",
    homepage="https://github.com/hendrycks/natural-adv-examples",
    classes=CLASSES,
    sizes={"train": 0, "val": 0, "test": 7500},
    prompt_sets=prompt_sets(CLASSES),
    readers=(ImageNetVariant(("imagenet-adversarial", "imagenet-a")),),
    default_prompts="coop",
    aliases=("imagenet-a", "imageneta", "imagenet-adversarial"),
    notes=("scores are among its 200 classes, not among ImageNet's 1,000",),
    downloads=IMAGENET_A,
)
