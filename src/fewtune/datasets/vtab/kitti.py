"""KITTI, distance: how far the closest car, van or truck on the road is."""

from __future__ import annotations

from fewtune.datasets.declaration import Dataset, PromptSet
from fewtune.datasets.published_files import wds
from fewtune.datasets.readers.raw_structured import Kitti
from fewtune.datasets.readers.tfds import Tfds, kitti_distance
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset

CLASSES = (
    "vehicle within 8 m",
    "vehicle at 8 to 20 m",
    "vehicle beyond 20 m",
    "no vehicle",
)
OPENAI_NAMES = (
    "a photo i took of a car on my left or right side.",
    "a photo i took with a car nearby.",
    "a photo i took with a car in the distance.",
    "a photo i took with no car.",
)
PEFT4CLIP_NAMES = (
    "a car on my left or right side.",
    "a car nearby.",
    "a car in the distance.",
    "no car.",
)

DATASET = Dataset(
    title="KITTI distance",
    group="structured",
    licence="CC BY-NC-SA 3.0",
    citation="""@inproceedings{geiger2012ready,
  title = {Are We Ready for Autonomous Driving? The {KITTI} Vision Benchmark Suite},
  author = {Andreas Geiger and Philip Lenz and Raquel Urtasun},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2012}
}""",
    homepage="https://www.cvlibs.net/datasets/kitti/",
    classes=CLASSES,
    sizes={"train": 6347, "val": 423, "test": 711},
    prompt_sets={
        "clip-benchmark": PromptSet(("{}",), dict(zip(CLASSES, OPENAI_NAMES, strict=True))),
        "clip": PromptSet(("{}",), dict(zip(CLASSES, OPENAI_NAMES, strict=True))),
        "peft4clip": PromptSet(
            ("a photo with {}",), dict(zip(CLASSES, PEFT4CLIP_NAMES, strict=True))
        ),
    },
    readers=(
        Tfds("kitti:3.2.*", kitti_distance),
        VtabLists("kitti", "kitti_distance"),
        Kitti(),
        WebDataset("vtab-kitti_closest_vehicle_distance"),
    ),
    default_prompts="clip-benchmark",
    aliases=(
        "kitti_closest_vehicle_distance",
        "kitti_distance",
        'kitti(task="closest_vehicle_distance")',
    ),
    label_rule="The smallest z of cars, vans and trucks in metres: to 8, to 20, beyond, none.",
    downloads=wds("vtab-kitti_closest_vehicle_distance"),
)
