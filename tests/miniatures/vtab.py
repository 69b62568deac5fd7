"""The 19 tasks of VTAB in the forms that exist for each: lists, webdataset shards, TFDS folders."""

from __future__ import annotations

import io
import re
import struct
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewtune.datasets import catalog
from fewtune.datasets.declaration import Dataset
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset
from fixtures import encoded, picture
from miniatures import Form, Labelled, Manifest

NAMES = tuple(name for name in catalog.names() if name.startswith("vtab/"))


def labels_of(dataset: Dataset) -> list[int]:
    """At most four classes, the first and the last among them."""
    last = len(dataset.classes) - 1
    return sorted({0, last // 3, 2 * last // 3, last})


def reader_of(dataset: Dataset, kind: type) -> Any:
    return next((reader for reader in dataset.readers if isinstance(reader, kind)), None)


def having(kind: type) -> list[str]:
    return [name for name in NAMES if reader_of(catalog.load(name), kind)]


# --- lists ---------------------------------------------------------------------------------------


def write_lists(name: str, root: Path) -> Manifest:
    dataset = catalog.load(name)
    folder = root / "vtab-1k" / reader_of(dataset, VtabLists).folder_names[0]
    labels = labels_of(dataset)
    lists = {"train800": 3 * labels, "val200": labels, "test": labels}
    lists["train800val200"] = lists["train800"] + lists["val200"]
    images = []
    for split, of_split in lists.items():
        lines = []
        (folder / "images" / split).mkdir(parents=True)
        for number, label in enumerate(of_split):
            key = f"images/{split}/{number:06d}.jpg"
            (folder / key).write_bytes(encoded(picture((name, key)), "JPEG"))
            lines.append(f"{key} {label}\n")
            if split in ("train800val200", "test"):
                into = "test" if split == "test" else "train"
                images.append(Labelled(into, key, label, dataset.classes[label]))
        (folder / f"{split}.txt").write_text("".join(lines))
    return Manifest(root, tuple(images))


# --- webdataset shards ---------------------------------------------------------------------------


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_700_000_000.5  # type: ignore[assignment]  # webdataset's are floats too
            archive.addfile(info, io.BytesIO(data))


def write_shards(name: str, root: Path) -> Manifest:
    dataset = catalog.load(name)
    reader = reader_of(dataset, WebDataset)
    folder = root / "clip-benchmark" / f"wds_{reader.repo}"
    rule = reader.label or (lambda stored: stored)
    stored_labels = [
        next(s for s in range(400) if rule(s) == label) for label in labels_of(dataset)
    ]
    images = []
    for split, shards in (("train", 2), ("test", 1)):
        (folder / split).mkdir(parents=True)
        (folder / split / "nshards.txt").write_text(f"{shards}\n")
        number = 0
        for shard in range(shards):
            members = []
            for stored in stored_labels:
                suffix = ("webp", "png", "jpg", "jpeg")[number % 4]
                kind = {"jpg": "JPEG"}.get(suffix, suffix.upper())
                options = {"lossless": True} if suffix == "webp" else {}
                key = f"s{number:07d}"
                data = encoded(picture((name, split, number)), kind, **options)
                members += [(f"{key}.cls", str(stored).encode()), (f"{key}.{suffix}", data)]
                images.append(
                    Labelled(
                        split,
                        f"{split}/{shard}.tar/{key}.{suffix}",
                        rule(stored),
                        dataset.classes[rule(stored)],
                    )
                )
                number += 1
            write_tar(folder / split / f"{shard}.tar", members)
    lines = [f"name {number}" for number in range(len(dataset.classes))]
    if name == "vtab/clevr-distance":
        lines[3] = ""
    (folder / "classnames.txt").write_text("\n".join(lines) + "\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of {c}\n")
    return Manifest(root, tuple(images))


# --- record files --------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def example(values: Mapping[str, Any], *, packed: bool = True) -> bytes:
    """A `tf.train.Example`; TensorFlow packs numbers, other writers need not."""
    entries = b""
    for name, value in values.items():
        items: Sequence[Any] = value if isinstance(value, list) else [value]
        if isinstance(items[0] if items else 0.0, bytes):
            feature = _field(1, b"".join(_field(1, item) for item in items))
        elif isinstance(items[0] if items else 0.0, float):
            runs = [struct.pack("<f", item) for item in items]
            unpacked = b"".join(_varint(1 << 3 | 5) + run for run in runs)
            feature = _field(2, _field(1, b"".join(runs)) if packed else unpacked)
        else:
            numbers = [_varint(item) for item in items]
            unpacked = b"".join(_varint(1 << 3) + item for item in numbers)
            feature = _field(3, _field(1, b"".join(numbers)) if packed else unpacked)
        entries += _field(1, _field(1, name.encode()) + _field(2, feature))
    return _field(1, entries)


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = _crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_records(path: Path, examples: Iterable[bytes]) -> None:
    records = (
        (length := struct.pack("<Q", len(data))) + _masked(length) + data + _masked(data)
        for data in examples
    )
    path.write_bytes(b"".join(records))


def _clevr(count: int, depth: float) -> dict[str, Any]:
    depths = [depth, *[depth + 1.0] * (count - 1)]
    return {"objects/pixel_coords": [x for d in depths for x in (1.0, 2.0, d)]}


def _kitti(label: int) -> dict[str, Any]:
    depth = (7.5, 12.0, 30.0, 3.0)[label]
    kind = 3 if label == 3 else label  # a pedestrian is no vehicle
    return {"objects/type": [kind, 6], "objects/location": [0.0, 1.0, depth, 0.0, 1.0, 2.0]}


# What a record holds besides the image, by label; "label" where nothing is said.
ANNOTATIONS: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "vtab/clevr-count": lambda label: _clevr(label + 3, 9.0),
    "vtab/clevr-distance": lambda label: _clevr(4, (7.0, 8.4, 8.8, 9.2, 9.9, 12.0)[label]),
    "vtab/kitti": _kitti,
    "vtab/dsprites-location": lambda label: {"label_x_position": 2 * label, "value_x": 0.5},
    "vtab/dsprites-orientation": lambda label: {"label_orientation": (5 * label + 1) // 2},
    "vtab/smallnorb-azimuth": lambda label: {"label_azimuth": label, "label_elevation": 0},
    "vtab/smallnorb-elevation": lambda label: {"label_azimuth": 0, "label_elevation": label},
}


def cut(expression: str, count: int) -> tuple[str, int, int]:
    """The TFDS split that "train[:90%]" cuts, and where the cut begins and ends."""
    stored, _, rest = expression.partition("[")
    first, last = (int(text or 0) for text in re.findall(r"(\d*)%?[:\]]", rest) or ("0", "0"))
    return stored, count * first // 100, count * (last or 100) // 100


def write_tfds(name: str, root: Path) -> Manifest:
    dataset = catalog.load(name)
    reader = reader_of(dataset, Tfds)
    builder, _, version = reader.builder.partition(":")
    stem = builder.partition("/")[0]
    folder = root / builder / version.replace("*", "1")
    folder.mkdir(parents=True)
    annotate = ANNOTATIONS.get(name, lambda label: {"label": label, "file_name": b"x.jpg"})
    labels = 5 * labels_of(dataset)
    expressions = (reader.slices.train, reader.slices.val, reader.slices.test)
    keys: dict[str, list[str]] = {}
    for stored in {expression.partition("[")[0] for expression in expressions}:
        files = [f"{stem}-{stored}.tfrecord-{shard:05d}-of-00002" for shard in range(2)]
        half = len(labels) // 3
        keys[stored] = []
        for file, part in zip(files, (labels[:half], labels[half:]), strict=True):
            records = []
            for number, label in enumerate(part):
                image = picture((name, stored, file, number), mode="L")
                if reader.zero_one:
                    image = image.point(lambda value: value % 2)
                values = {"image": encoded(image), **annotate(label)}
                records.append(example(values, packed=number % 2 == 0))
                keys[stored].append(f"{file}__{number}")
            write_records(folder / file, records)
    images = []
    for split, expression in zip(("train", "val", "test"), expressions, strict=True):
        stored, first, last = cut(expression, len(labels))
        for key, label in list(zip(keys[stored], labels, strict=True))[first:last]:
            images.append(Labelled(split, key, label, dataset.classes[label]))
    return Manifest(root, tuple(images))


FORMS = {
    "list folder": Form(having(VtabLists), write_lists),
    "webdataset shards": Form(having(WebDataset), write_shards),
    "TFDS folder": Form(having(Tfds), write_tfds),
}
