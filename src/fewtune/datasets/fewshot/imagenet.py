"""ImageNet: the 1,000 classes of ILSVRC 2012."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.datasets.declaration import Dataset, PromptSet, PromptSource
from fewtune.datasets.prompts import PHOTO, coop, listed
from fewtune.datasets.readers.imagenet_folders import ImageNet
from fewtune.datasets.readers.noah import NoahLists

# WordNet id, then name, in the order of the ids, which is that of the labels.
WNIDS, CLASSES = zip(*(line.split(" ", 1) for line in listed("imagenet")), strict=True)
# OpenAI's list, from which CoOp's classnames.txt is copied, has these two names twice.
TWICE = {"projectile": "missile", "sunglass": "sunglasses"}
OPENAI_TEMPLATES = listed("imagenet_templates")
CITATION = """@article{russakovsky2015imagenet,
  title = {{ImageNet} Large Scale Visual Recognition Challenge},
  author = {Olga Russakovsky and Jia Deng and Hao Su and Jonathan Krause and Sanjeev Satheesh
    and Sean Ma and Zhiheng Huang and Andrej Karpathy and Aditya Khosla and Michael Bernstein
    and Alexander C. Berg and Li Fei-Fei},
  journal = {International Journal of Computer Vision},
  volume = {115},
  number = {3},
  pages = {211--252},
  year = {2015}
}"""
BY_HAND = (
    "ImageNet asks for an account: https://image-net.org/download.php. Expected are "
    "imagenet/images/train/n01440764/ and imagenet/images/val/n01440764/ with their images, and "
    "so on."
)


def prompt_sets(classes: Sequence[str]) -> dict[PromptSource, PromptSet]:
    """Return what the sources say of ImageNet and of test sets with some of its classes."""
    names = {name: twice for name, twice in TWICE.items() if name in classes}
    of_coop = {source: PromptSet(given.templates, names) for source, given in coop(PHOTO).items()}
    openai = PromptSet(OPENAI_TEMPLATES, names)
    return {**of_coop, "clip": openai, "clip-benchmark": openai}


DATASET = Dataset(
    title="ImageNet",
    group="few-shot",
    licence="for non-commercial research and education",
    citation=CITATION,
    homepage="https://image-net.org",
    classes=CLASSES,
    sizes={"train": 1281167, "val": 0, "test": 50000},
    prompt_sets=prompt_sets(CLASSES),
    readers=(
        ImageNet(),
        NoahLists("imagenet"),
    ),
    default_prompts="coop",
    aliases=("imagenet", "imagenet1k", "imagenet-1k", "ilsvrc2012"),
    notes=("the 50,000 validation images are the test split, as in the papers",),
    by_hand=BY_HAND,
)
