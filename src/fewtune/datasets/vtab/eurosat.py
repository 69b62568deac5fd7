"""EuroSAT: land use seen by the satellite Sentinel-2, colour channels only."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_files import EUROSAT
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

OPENAI_NAMES = {
    "AnnualCrop": "annual crop land",
    "Forest": "forest",
    "HerbaceousVegetation": "brushland or shrubland",
    "Highway": "highway or road",
    "Industrial": "industrial buildings or commercial buildings",
    "Pasture": "pasture land",
    "PermanentCrop": "permanent crop land",
    "Residential": "residential buildings or homes or apartments",
    "River": "river",
    "SeaLake": "lake or sea",
}
COOP_NAMES = {
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}
CITATION = """@article{helber2019eurosat,
  title = {{EuroSAT}: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover
    Classification},
  author = {Patrick Helber and Benjamin Bischke and Andreas Dengel and Damian Borth},
  journal = {IEEE Journal of Selected Topics in Applied Earth Observations and Remote Sensing},
  year = {2019}
}"""
LICENCE = "MIT"
HOMEPAGE = "https://github.com/phelber/EuroSAT"
COOP_TEMPLATE = "a centered satellite photo of {}."
TEMPLATES = (
    COOP_TEMPLATE,
    "a centered satellite photo of a {}.",
    "a centered satellite photo of the {}.",
)

DATASET = Dataset(
    title="EuroSAT",
    group="specialised",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    classes=tuple(OPENAI_NAMES),
    sizes={"train": 16200, "val": 5400, "test": 5400},
    prompt_sets={
        "clip-benchmark": PromptSet(TEMPLATES, OPENAI_NAMES),
        "clip": PromptSet(TEMPLATES, OPENAI_NAMES),
        "coop": PromptSet((COOP_TEMPLATE,), COOP_NAMES),
        "peft4clip": PromptSet(("a photo of a {}",)),
    },
    readers=(
        Tfds("eurosat/rgb:2.*.*", slices=EUROSAT.slices),
        VtabLists("eurosat"),
        EUROSAT,
        WebDataset("vtab-eurosat"),
    ),
    default_prompts="clip-benchmark",
    aliases=("eurosat/rgb",),
    downloads=wds("vtab-eurosat"),
)
