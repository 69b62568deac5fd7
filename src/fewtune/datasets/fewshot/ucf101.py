"""UCF101: human actions, the middle frame of each film."""

from __future__ import annotations

import re

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import coop, listed
from fewtune.datasets.published_files import UCF101
from fewtune.datasets.readers.zhou import ZhouSplit

# "ApplyEyeMakeup" is "Apply_Eye_Makeup" in CoOp's files.
CLASSES = tuple("_".join(re.findall("[A-Z][^A-Z]*", name)) for name in listed("ucf101"))
OPENAI_TEMPLATES = tuple(
    f"a {kind} of {article} person {verb}{{}}."
    for verb in ("", "using ", "doing ", "during ", "performing ", "practicing ")
    for article in ("a", "the")
    for kind in ("photo", "video", "example", "demonstration")
)

DATASET = Dataset(
    title="UCF101",
    group="few-shot",
    licence="not stated",
    citation="""@article{soomro2012ucf101,
  title = {{UCF101}: A Dataset of 101 Human Actions Classes From Videos in The Wild},
  author = {Khurram Soomro and Amir Roshan Zamir and Mubarak Shah},
  journal = {arXiv:1212.0402},
  year = {2012}
}""",
    homepage="https://www.crcv.ucf.edu/data/UCF101.php",
    classes=CLASSES,
    sizes={"train": 7639, "val": 1898, "test": 3783},
    prompt_sets={
        **coop("a photo of a person doing {}."),
        "clip": PromptSet(OPENAI_TEMPLATES, {"Handstand_Pushups": "Hand Stand Pushups"}),
    },
    readers=(ZhouSplit(("ucf101", "UCF101"), "split_zhou_UCF101.json", "UCF-101-midframes"),),
    default_prompts="coop",
    aliases=("ucf101", "ucf-101"),
    by_hand="CoOp publishes UCF-101-midframes.zip and split_zhou_UCF101.json on Google Drive "
    "(DATASETS.md of github.com/KaiyangZhou/CoOp). Put both into ucf101/ and unpack the first.",
    downloads=UCF101,
)
