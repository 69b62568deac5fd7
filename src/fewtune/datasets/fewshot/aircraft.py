"""FGVC-Aircraft: 100 variants of aircraft, with the official splits."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.prompts import coop, listed
from fewtune.datasets.published_files import AIRCRAFT
from fewtune.datasets.readers.fgvc_aircraft import Aircraft
from fewtune.datasets.readers.noah import NoahLists

TEMPLATE = "a photo of a {}, a type of aircraft."

DATASET = Dataset(
    title="FGVC-Aircraft",
    group="few-shot",
    licence="non-commercial research only",
    citation="""@article{maji2013fine,
  title = {Fine-Grained Visual Classification of Aircraft},
  author = {Subhransu Maji and Esa Rahtu and Juho Kannala and Matthew Blaschko
    and Andrea Vedaldi},
  journal = {arXiv:1306.5151},
  year = {2013}
}""",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    classes=listed("aircraft"),
    sizes={"train": 3334, "val": 3333, "test": 3333},
    prompt_sets={
        **coop(TEMPLATE),
        **dict.fromkeys(
            ("clip", "clip-benchmark"),
            PromptSet((TEMPLATE, "a photo of the {}, a type of aircraft.")),
        ),
    },
    readers=(
        Aircraft(),
        NoahLists("fgvc-aircraft"),
    ),
    default_prompts="coop",
    aliases=("aircraft", "fgvc_aircraft", "fgvcaircraft", "fgvc-aircraft-2013b", "fgvc"),
    downloads=AIRCRAFT,
)
