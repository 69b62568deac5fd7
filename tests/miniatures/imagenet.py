"""ImageNet as CoOp lays it out, and its four variants next to it.

There is a folder for every class, but only some have an image: the first three and the last, the
first of them two for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewtune.data.text_files import read_lines
from fewtune.datasets.dataset_file import HERE, listed
from miniatures import Form, Labelled, Manifest
from miniatures.few_shot import write_images, write_list

IMAGENET = "fewshot/imagenet"
CLASSES = listed("imagenet")


def wnids_of(name: str) -> list[str]:
    """Return the WordNet names in a list of classes."""
    return [line.partition(" ")[0] for line in read_lines(HERE / "classes" / f"{name}.txt")]


WNIDS = wnids_of("imagenet")
# Folder, folder of the class folders within it, WordNet names of the classes.
VARIANTS: dict[str, tuple[str, str, Sequence[str]]] = {
    "imagenet-v2": ("imagenetv2", "imagenetv2-matched-frequency-format-val", WNIDS),
    "imagenet-sketch": ("imagenet-sketch", "images", WNIDS),
    "imagenet-a": ("imagenet-adversarial", "imagenet-a", wnids_of("imagenet_a")),
    "imagenet-r": ("imagenet-rendition", "imagenet-r", wnids_of("imagenet_r")),
}
# Lines of ImageNetV2's classnames.txt: its folders are numbers of lines, which need not be sorted.
LINES = WNIDS[::-1]
# Every class of the variants that has an image in them has one here for training.
PICTURED = sorted({wnid for *_, wnids in VARIANTS.values() for wnid in (*wnids[:3], wnids[-1])})


def training_rows(wnids: Sequence[str] = WNIDS) -> list[Labelled]:
    """Return ImageNet's training images of these classes, labelled in their order."""
    return [
        Labelled("train", f"train/{wnid}/{wnid}_{n}.JPEG", label, CLASSES[WNIDS.index(wnid)])
        for label, wnid in enumerate(wnids)
        for n in range((wnid in PICTURED) + (wnid == WNIDS[0]))
    ]


def write_names(path: Path, wnids: Sequence[str]) -> None:
    """Write classnames.txt."""
    lines = (f"{wnid} {CLASSES[WNIDS.index(wnid)]}\n" for wnid in wnids)
    path.write_text("".join(lines), encoding="utf-8")


def make_folders(folder: Path, names: Sequence[str]) -> None:
    """Make a folder for each class."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).mkdir()


def coop(_: str, root: Path) -> Manifest:
    """Write imagenet/images/{train,val} and imagenet/classnames.txt."""
    images = root / "imagenet" / "images"
    for split in ("train", "val"):
        make_folders(images / split, WNIDS)
    rows = training_rows()
    for label in (0, 1, 2, 999):
        key = f"val/{WNIDS[label]}/ILSVRC2012_val_{label:08d}.JPEG"
        rows.append(Labelled("test", key, label, CLASSES[label]))
    write_images(images, rows)
    write_names(root / "imagenet" / "classnames.txt", WNIDS)
    return Manifest(root, tuple(rows))


def as_clip_lora(written: Manifest) -> Manifest:
    """Move CoOp's folders up, to imagenet/{train,val}."""
    for split in ("train", "val"):
        (written.root / "imagenet" / "images" / split).rename(written.root / "imagenet" / split)
    (written.root / "imagenet" / "classnames.txt").unlink()
    return written


def as_noah(written: Manifest) -> Manifest:
    """Move CLIP-LoRA's folders to few-shot/imagenet, val without class folders, and add lists."""
    folder = written.root / "few-shot" / "imagenet"
    folder.mkdir(parents=True)
    (written.root / "imagenet" / "train").rename(folder / "train")
    (folder / "val").mkdir()
    rows, train, test = [], [], []
    for row in written.images:
        split, _, path = row.key.partition("/")
        if split == "val":
            name = path.rpartition("/")[2]
            (written.root / "imagenet" / row.key).rename(folder / "val" / name)
            rows.append(Labelled("test", f"val/{name}", row.label, row.class_name))
            test.append(Labelled("test", name, row.label, row.class_name))
        else:
            rows.append(row)
            train.append(Labelled("train", path, row.label, row.class_name))
    lists = folder / "annotations"
    lists.mkdir()
    write_list(lists / "train_meta.list.num_shot_1.seed_0", train[1:])
    write_list(lists / "train_meta.list.num_shot_2.seed_0", train)
    write_list(lists / "val_meta.list", test)
    return Manifest(written.root, tuple(rows))


def variant(name: str, root: Path) -> Manifest:
    """Write a test set, and ImageNet next to it if it is not there yet."""
    folder, inner, wnids = VARIANTS[name]
    numbered = name == "imagenet-v2"
    of_class = [str(LINES.index(wnid)) if numbered else wnid for wnid in wnids]
    make_folders(root / folder / inner, of_class)
    rows = []
    for label in (0, 1, 2, len(wnids) - 1):
        class_name = CLASSES[WNIDS.index(wnids[label])]
        rows.append(Labelled("test", f"{of_class[label]}/{label}.jpg", label, class_name))
    write_images(root / folder / inner, rows)
    write_names(root / folder / "classnames.txt", LINES if numbered else wnids)
    if not (root / "imagenet").exists():
        coop(IMAGENET, root)
    return Manifest(root, (*rows, *training_rows(wnids)))


FORMS = {
    "ImageNet of CoOp": Form((IMAGENET,), coop),
    "ImageNet variant": Form(tuple(VARIANTS), variant),
}
