"""The photos that the text tower is judged on while it is made, as the image teacher sees them."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pretraining.photo.classes import imagenet_classes
from pretraining.photo.maps import cache, read_maps
from pretraining.photo.pool import View
from pretraining.photo.sources import photos_of, teacher_of
from pretraining.photo.targets import pooled, read_targets
from pretraining.photo.teacher import load_teacher
from pretraining.photo.text_evaluate import Development

TINY_STEP = 2  # every second validation photo of each class


def tiny_rows(folder: Path, step: int = TINY_STEP) -> list[tuple[int, Path]]:
    """Synset and file of validation photos of Tiny ImageNet, in the order of the synsets."""
    lines = (folder / "val" / "val_annotations.txt").read_text(encoding="utf-8").splitlines()
    rows = sorted((wnid, file) for file, wnid, *_ in (line.split("\t") for line in lines))
    return [(int(wnid[1:]), folder / "val" / "images" / file) for wnid, file in rows[::step]]


def labelled(
    rows: Sequence[int], classes: list[int], names: list[str]
) -> tuple[list[int], list[str]]:
    """Labels of photos of these synsets, and the names of the classes among them."""
    present = [synset for synset in classes if synset in set(rows)]
    row_of = {synset: row for row, synset in enumerate(present)}
    return [row_of[synset] for synset in rows], [names[classes.index(s)].lower() for s in present]


def development(work: Path) -> dict[str, Development]:
    """5,000 photos of 200 classes, and one of each of ImageNet's 1,000."""
    photos, maps = photos_of(work), work / "maps"
    stem, *_ = load_teacher(teacher_of(work))
    targets = read_targets(work / "targets.safetensors")
    classes, names, _ = imagenet_classes(photos)
    tiny = tiny_rows(photos / "tiny-imagenet" / "tiny-imagenet-200")
    cache(stem, [View("validation", path, 0) for _, path in tiny], maps / "validation")
    sets = {}
    for key, synsets in (("validation", [synset for synset, _ in tiny]), ("samples", classes)):
        embeddings = targets.embed(pooled(stem.last, read_maps(maps / key)))
        labels, present = labelled(synsets, classes, names)
        sets[key] = Development(embeddings, torch.tensor(labels), present)
    return sets
