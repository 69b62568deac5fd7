"""FGVC-Aircraft: 100 variants of aircraft, with the official splits."""

from __future__ import annotations

from fewtune.data.declaration import Dataset, Wording
from fewtune.data.readers.aircraft import Aircraft
from fewtune.data.readers.noah import NoahLists
from fewtune.datasets.downloads import AIRCRAFT
from fewtune.datasets.words import coop, listed

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
    wordings={
        **coop(TEMPLATE),
        **dict.fromkeys(
            ("clip", "clip-benchmark"),
            Wording((TEMPLATE, "a photo of the {}, a type of aircraft.")),
        ),
    },
    readers=(
        Aircraft(),
        NoahLists("fgvc-aircraft"),
    ),
    default_wording="coop",
    aliases=("aircraft", "fgvc_aircraft", "fgvcaircraft", "fgvc-aircraft-2013b", "fgvc"),
    downloads=AIRCRAFT,
)
