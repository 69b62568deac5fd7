"""VTAB's tasks in the files that their authors publish."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fewtune.datasets import catalog
from fewtune.datasets.declaration import Dataset
from fixtures import encoded, picture, write_image
from miniatures import Form, Labelled, Manifest
from miniatures.vtab import cut, example, labels_of, write_records

PLAIN = ("train", "validation", "test")
TENTH = ("train[:90%]", "train[90%:]", "test")
SIXTY = ("train[:60%]", "train[60%:80%]", "train[80%:]")

# An image: TFDS's split, TFDS's key, the reader's key, the label.
Entry = tuple[str, str, str, int]


def manifest(
    root: Path, dataset: Dataset, entries: Sequence[Entry], slices: Sequence[str]
) -> Manifest:
    """The images in VTAB's splits: TFDS sorts by the MD5 of split and key, VTAB cuts."""
    images = []
    for split, expression in zip(("train", "val", "test"), slices, strict=True):
        of_split = [entry for entry in entries if entry[0] == expression.partition("[")[0]]
        of_split.sort(key=lambda entry: hashlib.md5((entry[0] + entry[1]).encode()).digest())
        _, first, last = cut(expression, len(of_split))
        for _, _, key, label in of_split[first:last]:
            images.append(Labelled(split, key, label, dataset.classes[label]))
    return Manifest(root, tuple(images))


def clevr(name: str, root: Path) -> Manifest:
    dataset = catalog.load(name)
    folder = root / "CLEVR_v1.0"
    depths = (7.0, 8.4, 8.8, 9.2, 9.9, 12.0)
    entries: list[Entry] = []
    for part, stored, count in (("train", "train", 20), ("val", "validation", 6)):
        scenes = []
        for number in range(count):
            objects, nearest = 3 + number % 8, number % 6
            file = f"CLEVR_{part}_{number:06d}.png"
            write_image(folder / "images" / part / file, (name, file))
            seen = [{"pixel_coords": [10, 20, depths[nearest] + i]} for i in range(objects)]
            scenes.append({"image_index": number, "image_filename": file, "objects": seen})
            label = objects - 3 if name == "vtab/clevr-count" else nearest
            entries.append((stored, file, f"images/{part}/{file}", label))
        (folder / "scenes").mkdir(exist_ok=True)
        text = json.dumps({"info": {"split": part}, "scenes": scenes})
        (folder / "scenes" / f"CLEVR_{part}_scenes.json").write_text(text)
    return manifest(root, dataset, entries, ("train[:90%]", "train[90%:]", "validation"))


KITTI_ORDER = (12, 4, 6, 5, 8, 9, 1, 2, 7, 10, 11, 3)
# What TFDS 4.9 makes of five drives: drive 1 is drawn for test, drive 0 for validation.
KITTI_SPLITS = {"train": (0, 3, 4, 7, 8, 9, 11), "validation": (2, 6, 10), "test": (1, 5)}


def kitti(name: str, root: Path) -> Manifest:
    folder = root / "kitti"
    objects = ("Car {} 7.99", "Van {} 8.00\nCar {} 20.01", "Truck {} 20.01", "Tram {} 3.00")
    labels = (0, 0, 2, 3)
    (folder / "training/label_2").mkdir(parents=True)
    for image in range(len(KITTI_ORDER)):
        write_image(folder / f"training/image_2/{image:06d}.png", (name, image))
        boxes = "0.00 0 -1.57 1 2 3 4 1.5 1.6 3.7 0.1 1.5"
        lines = [f"{line.format(boxes)} -1.6" for line in objects[image % 4].split("\n")]
        text = "\n".join([*lines, "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10"])
        (folder / f"training/label_2/{image:06d}.txt").write_text(text + "\n")
    (folder / "mapping").mkdir()
    (folder / "mapping/train_rand.txt").write_text(",".join(map(str, KITTI_ORDER)))
    drives = [f"2011_09_26_drive_{line * 2 % 5:04d}_sync" for line in range(12)]
    lines = [f"2011_09_26 {drive} {line:010d}\n" for line, drive in enumerate(drives)]
    (folder / "mapping/train_mapping.txt").write_text("".join(lines))
    entries = [
        (stored, f"{image:06d}.png", f"training/image_2/{image:06d}.png", labels[image % 4])
        for stored, images in KITTI_SPLITS.items()
        for image in images
    ]
    return manifest(root, catalog.load(name), entries, PLAIN)


def dsprites(name: str, root: Path) -> Manifest:
    count = 40
    generator = np.random.default_rng(0)
    images = generator.integers(0, 2, (count, 64, 64), dtype=np.uint8)
    factors = np.zeros((count, 6), np.int64)
    factors[:, 3] = np.arange(count)
    factors[:, 4] = np.arange(count) % 32
    folder = root / "dsprites"
    folder.mkdir()
    np.savez_compressed(
        folder / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
        imgs=images,
        latents_classes=factors,
        metadata=np.array({"a": "pickle, never opened"}, dtype=object),
    )
    labels = [
        raw % 32 // 2 if name == "vtab/dsprites-location" else int(raw / 2.5)
        for raw in range(count)
    ]
    entries = [("train", str(i), f"{i:06d}", label) for i, label in enumerate(labels)]
    slices = ("train[:80%]", "train[80%:90%]", "train[90%:]")
    return manifest(root, catalog.load(name), entries, slices)


def matrix(path: Path, array: np.ndarray, magic: int) -> None:
    shape = [*array.shape, *[1] * (3 - array.ndim)]
    header = struct.pack(f"<{2 + len(shape)}i", magic, array.ndim, *shape)
    path.write_bytes(header + array.tobytes())


def smallnorb(name: str, root: Path) -> Manifest:
    folder = root / "smallnorb"
    folder.mkdir()
    entries: list[Entry] = []
    parts = (("train", "5x46789", "training", 18), ("test", "5x01235", "testing", 20))
    for stored, instances, part, count in parts:
        images = np.zeros((count, 2, 96, 96), np.uint8)
        images[:, 0] = np.arange(count)[:, None, None]
        info = np.array([[4, i % 9, i % 18 * 2, 0] for i in range(count)], "<i4")
        stem = folder / f"smallnorb-{instances}x9x18x6x2x96x96-{part}"
        matrix(Path(f"{stem}-dat.mat"), images, 0x1E3D4C55)
        matrix(Path(f"{stem}-info.mat"), info, 0x1E3D4C54)
        for kind in ("dat", "info"):  # compressed, as they are published
            packed = Path(f"{stem}-{kind}.mat")
            Path(f"{packed}.gz").write_bytes(gzip.compress(packed.read_bytes(), 1))
            packed.unlink()
        for i in range(count):
            label = i % 18 if name == "vtab/smallnorb-azimuth" else i % 9
            entries.append((stored, str(i), f"{stored}/{i:05d}", label))
    return manifest(root, catalog.load(name), entries, ("train", "test[:50%]", "test[50%:]"))


def dtd(name: str, root: Path) -> Manifest:
    dataset = catalog.load(name)
    folder = root / "dtd"
    (folder / "labels").mkdir(parents=True)
    entries: list[Entry] = []
    for stored, short in zip(PLAIN, ("train", "val", "test"), strict=True):
        keys = []
        for label in labels_of(dataset):
            texture = dataset.classes[label]
            keys.append(f"{texture}/{texture}_{short}.jpg")
            write_image(folder / "images" / keys[-1], keys[-1])
            entries.append((stored, keys[-1], keys[-1], label))
        for fold in (1, 2):  # only the first of ten divisions counts
            text = "\n".join(keys if fold == 1 else reversed(keys)) + "\n"
            (folder / "labels" / f"{short}{fold}.txt").write_text(text)
    return manifest(root, dataset, entries, PLAIN)


def pets(name: str, root: Path) -> Manifest:
    dataset = catalog.load(name)
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    entries: list[Entry] = []
    for stored, file, each in (("train", "trainval", 3), ("test", "test", 1)):
        lines = []
        for label in labels_of(dataset):
            for number in range(each):
                image = f"{dataset.classes[label].replace(' ', '_')}_{stored}{number}"
                write_image(folder / "images" / f"{image}.jpg", image)
                lines.append(f"{image} {label + 1} 1 1\n")
                entries.append((stored, f"{image}.jpg", f"{image}.jpg", label))
        (folder / "annotations" / f"{file}.txt").write_text("".join(lines))
    return manifest(root, dataset, entries, ("train[:80%]", "train[80%:]", "test"))


def flowers102(name: str, root: Path) -> Manifest:
    from scipy.io import savemat

    dataset = catalog.load(name)
    folder = root / "flowers-102"
    labels = 3 * labels_of(dataset)
    savemat(folder_of(folder) / "imagelabels.mat", {"labels": np.array([labels], np.uint8) + 1})
    numbers = np.arange(1, len(labels) + 1, dtype=np.uint16)[::-1].reshape(3, 1, -1)
    names = ("trnid", "valid", "tstid")
    savemat(folder / "setid.mat", dict(zip(names, numbers, strict=True)))
    entries: list[Entry] = []
    for stored, of_split in zip(PLAIN, numbers, strict=True):
        for number in of_split.ravel().tolist():
            file = f"image_{number:05d}.jpg"
            write_image(folder / "jpg" / file, file)
            entries.append((stored, file, file, labels[number - 1]))
    return manifest(root, dataset, entries, PLAIN)


def folder_of(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def class_folders(name: str, root: Path) -> Manifest:
    """EuroSAT and RESISC45, every class of them."""
    dataset = catalog.load(name)
    parent = "eurosat/2750" if name == "vtab/eurosat" else "NWPU-RESISC45"
    each = 2 if name == "vtab/eurosat" else 1
    entries: list[Entry] = []
    for label, class_name in enumerate(dataset.classes):
        folder = class_name.replace(" ", "_")
        for number in range(each):
            file = f"{folder}_{number}.jpg"
            write_image(root / parent / folder / file, (name, file))
            entries.append(("train", f"{folder}_{file}", f"{folder}/{file}", label))
    return manifest(root, dataset, entries, SIXTY)


def caltech101(name: str, root: Path) -> Manifest:
    """Four classes, of which one has more than the 30 images that train."""
    dataset = catalog.load(name)
    images = []
    for label, count in ((0, 33), (1, 3), (4, 3), (100, 3)):
        folder = dataset.classes[label]
        folder = {"background_google": "BACKGROUND_Google"}.get(folder, folder)
        for number in range(count):
            key = f"{folder}/image_{number:04d}.jpg"
            write_image(root / "caltech101/101_ObjectCategories" / key, key)
            images.append(Labelled("", key, label, dataset.classes[label]))
    return Manifest(root, tuple(images))


def sun397(name: str, root: Path) -> Manifest:
    dataset = catalog.load(name)
    places = {"a/abbey": "abbey", "a/apse/indoor": "apse indoor", "y/youth_hostel": "youth hostel"}
    entries: list[Entry] = []
    for stored, short in zip(PLAIN, ("tr", "va", "te"), strict=True):
        keys = []
        for place, class_name in places.items():
            key = f"{place}/sun_{short}.jpg"
            write_image(root / "SUN397" / key, key)
            keys.append(f"/{key}\n")
            entries.append((stored, f"/{key}", key, dataset.classes.index(class_name)))
        (root / f"sun397_tfds_{short}.txt").write_text("".join(keys))
    return manifest(root, dataset, entries, PLAIN)


def retinopathy(name: str, root: Path) -> Manifest:
    folder = root / "diabetic-retinopathy-detection"
    entries: list[Entry] = []
    tables = {"trainLabels": ["image,level"], "retinopathy_solution": ["image,level,Usage"]}
    for number in range(15):
        stored = PLAIN[number % 3]
        part = "train" if stored == "train" else "test"
        image, level = f"{number}_left", number % 5
        write_image(folder / part / f"{image}.jpeg", image)
        entries.append((stored, image, f"{part}/{image}.jpeg", level))
        usage = {"validation": ",Public", "test": ",Private"}.get(stored, "")
        table = "trainLabels" if part == "train" else "retinopathy_solution"
        tables[table].append(f"{image},{level}{usage}")
    for table, lines in tables.items():
        (folder / f"{table}.csv").write_text("\n".join(lines) + "\n")
    return manifest(root, catalog.load(name), entries, PLAIN)


def cifar100(name: str, root: Path) -> Manifest:
    folder = folder_of(root / "cifar-100-binary")
    entries: list[Entry] = []
    for stored in ("train", "test"):
        data = b""
        for number in range(20):
            label = number * 5
            planes = np.asarray(picture((stored, number), (32, 32))).transpose(2, 0, 1)
            data += bytes([number, label]) + planes.tobytes()
            entries.append((stored, str(number), f"{stored}/{number:05d}", label))
        (folder / f"{stored}.bin").write_bytes(data)
    return manifest(root, catalog.load(name), entries, TENTH)


def svhn(name: str, root: Path) -> Manifest:
    from scipy.io import savemat

    folder = folder_of(root / "svhn")
    entries: list[Entry] = []
    for stored in ("train", "test"):
        images = [np.asarray(picture((stored, number), (32, 32))) for number in range(20)]
        digits = np.array([[number % 10 + 1] for number in range(20)], np.uint8)
        values = {"X": np.stack(images, -1), "y": digits}
        savemat(folder / f"{stored}_32x32.mat", values, do_compression=True)
        for number in range(20):
            key = f"{stored}/{number:05d}"
            entries.append((stored, str(number), key, (number % 10 + 1) % 10))
    return manifest(root, catalog.load(name), entries, TENTH)


def dmlab(name: str, root: Path) -> Manifest:
    folder = folder_of(root / "dmlab")
    entries: list[Entry] = []
    for stored in PLAIN:
        for shard in range(2):
            records = []
            for number in range(6):
                key = f"{stored}_{shard}_{number}.png"
                image = encoded(picture(key))
                values = {"image": image, "filename": key.encode(), "label": number}
                records.append(example(values))
                entries.append((stored, key, f"{stored}/{key}", number))
            write_records(folder / f"dmlab-{stored}.tfrecord-{shard:05d}-of-00002", records)
    return manifest(root, catalog.load(name), entries, PLAIN)


WRITERS: Mapping[str, Callable[[str, Path], Manifest]] = {
    "vtab/caltech101": caltech101,
    "vtab/cifar100": cifar100,
    "vtab/clevr-count": clevr,
    "vtab/clevr-distance": clevr,
    "vtab/dmlab": dmlab,
    "vtab/dsprites-location": dsprites,
    "vtab/dsprites-orientation": dsprites,
    "vtab/dtd": dtd,
    "vtab/eurosat": class_folders,
    "vtab/flowers102": flowers102,
    "vtab/kitti": kitti,
    "vtab/pets": pets,
    "vtab/resisc45": class_folders,
    "vtab/retinopathy": retinopathy,
    "vtab/smallnorb-azimuth": smallnorb,
    "vtab/smallnorb-elevation": smallnorb,
    "vtab/sun397": sun397,
    "vtab/svhn": svhn,
}


def write_original(name: str, root: Path) -> Manifest:
    return WRITERS[name](name, root)


FORMS = {"original files": Form(tuple(WRITERS), write_original)}
