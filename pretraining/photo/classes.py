"""ImageNet's classes: their synsets and names, in the order of the teacher's classifier."""

import json
from pathlib import Path


def _offset(wnid: str) -> int:
    return int(wnid[1:])


def imagenet_classes(photos: Path) -> tuple[list[int], list[str], list[int]]:
    """Return synsets and names of the 1,000 classes, and the synsets of Tiny ImageNet's 200.

    A synset is its offset in WordNet 3.0. The sample photos are named by it, and the order of
    their names is the classifier's.
    """
    synsets = [_offset(path.name.split("_")[0]) for path in sorted((photos / "samples").glob("n*"))]
    path = photos / "labels" / "imagenet-simple-labels.json"
    names = json.loads(path.read_text(encoding="utf-8"))
    tiny = photos / "tiny-imagenet" / "tiny-imagenet-200" / "wnids.txt"
    return synsets, names, [_offset(line) for line in tiny.read_text(encoding="utf-8").split()]
