"""ImageNet-R: paintings, toys, tattoos and other renditions of 200 of ImageNet's classes."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset
from fewtune.datasets.fewshot.imagenet import CLASSES as ALL
from fewtune.datasets.fewshot.imagenet import WNIDS, prompt_sets
from fewtune.datasets.prompts import listed
from fewtune.datasets.published_files import IMAGENET_R
from fewtune.datasets.readers.imagenet_folders import ImageNetVariant

CLASSES = tuple(ALL[WNIDS.index(wnid)] for wnid in listed("imagenet_r"))

DATASET = Dataset(
    title="ImageNet-R",
    group="domain-shift",
    licence="not stated",
    citation="""@inproceedings{hendrycks2021many,
  title = {The Many Faces of Robustness: A Critical Analysis of Out-of-Distribution Generalization},
  author = {Dan Hendrycks and Steven Basart and Norman Mu and Saurav Kadavath and Frank Wang
    and Evan Dorundo and Rahul Desai and Tyler Zhu and Samyak Parajuli and Mike Guo and Dawn Song
    and Jacob Steinhardt and Justin Gilmer},
  booktitle = {IEEE/CVF International Conference on Computer Vision},
  year = {2021}
}""",
    homepage="https://github.com/hendrycks/imagenet-r",
    classes=CLASSES,
    sizes={"train": 0, "val": 0, "test": 30000},
    prompt_sets=prompt_sets(CLASSES),
    readers=(ImageNetVariant(("imagenet-rendition", "imagenet-r")),),
    default_prompts="coop",
    aliases=("imagenet-r", "imagenetr", "imagenet-rendition"),
    notes=("scores are among its 200 classes, not among ImageNet's 1,000",),
    downloads=IMAGENET_R,
)
