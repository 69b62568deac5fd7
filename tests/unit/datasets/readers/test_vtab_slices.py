"""VTAB's splits and images as positions in the order of TFDS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fewtune.core.errors import DataError
from fewtune.data.label_table import to_task
from fewtune.data.verify import verify
from fewtune.datasets import catalog
from fewtune.datasets.readers.tfds import Tfds
from fewtune.datasets.tfrecord import locate_records, map_file, read_record
from fewtune.datasets.vtab_slices import Slices, choose, tfds_order
from miniatures.vtab import NAMES, example, reader_of, write_records, write_tfds

# Images of TFDS's splits.
STORED = {
    "vtab/caltech101": {"train": 3060, "test": 6084},
    "vtab/cifar100": {"train": 50000, "test": 10000},
    "vtab/clevr-count": {"train": 70000, "validation": 15000},
    "vtab/clevr-distance": {"train": 70000, "validation": 15000},
    "vtab/dsprites-location": {"train": 737280},
    "vtab/dsprites-orientation": {"train": 737280},
    "vtab/eurosat": {"train": 27000},
    "vtab/pets": {"train": 3680, "test": 3669},
    "vtab/resisc45": {"train": 31500},
    "vtab/smallnorb-azimuth": {"train": 24300, "test": 24300},
    "vtab/smallnorb-elevation": {"train": 24300, "test": 24300},
    "vtab/svhn": {"train": 73257, "test": 26032},
}
Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize("name", NAMES)
def test_slices_have_the_declared_sizes(name: str) -> None:
    dataset = catalog.load(name)
    parts = reader_of(dataset, Tfds).slices.parts("full")
    stored = STORED.get(name)
    if stored is None:
        assert [part.stored for part in parts] == ["train", "validation", "test"]
        assert {(part.first, part.last) for part in parts} == {(0, 100)}
    else:
        sizes = {part.split: len(part.positions(stored[part.stored])) for part in parts}
        assert sizes == dict(dataset.sizes)


def test_order_is_that_of_tfds() -> None:
    # The ids that TFDS is known to give for CIFAR-10: train_16399, train_01680, ..
    first = tfds_order(list(map(str, range(50000))), "train")[:5]
    assert first == ["16399", "1680", "47917", "17307", "27051"]
    assert tfds_order(["a", "b", "c"], "train") != tfds_order(["a", "b", "c"], "test")


def test_the_thousand_are_the_first_of_train_and_val() -> None:
    keys = {"train": [str(i) for i in range(3000)], "test": ["x", "y"]}
    slices = Slices("train[:50%]", "train[50%:]", "test")
    ordered = tfds_order(keys["train"], "train")
    eight = choose(keys, slices, "800")
    assert [key for split, _, key in eight if split == "train"] == ordered[:800]
    assert [key for split, _, key in eight if split == "val"] == ordered[1500:1700]
    assert {key for split, _, key in eight if split == "test"} == {"x", "y"}
    thousand = choose(keys, slices, "1000")
    assert [key for split, _, key in thousand if split == "train"] == [
        *ordered[:800],
        *ordered[1500:1700],
    ]
    with pytest.raises(ValueError, match="no slice"):
        Slices("train[:800]").parts("full")


def test_official_images_need_a_complete_dataset_of_the_right_version(tmp_path: Path) -> None:
    write_tfds("vtab/pcam", tmp_path)
    dataset = catalog.load("vtab/pcam")
    folder = tmp_path / "patch_camelyon/2.1.1"
    records = [example({"image": b"", "label": label % 2}) for label in range(800)]
    for split, count in (("train", 800), ("validation", 200), ("test", 4)):
        for shard in range(2):
            half = records[: count // 2]
            write_records(folder / f"patch_camelyon-{split}.tfrecord-0000{shard}-of-00002", half)
    reader = Tfds("patch_camelyon:2.*.*")
    assert reader.read(folder, dataset, "800").notes[1].startswith("official lists of VTAB-1k")
    other = Tfds("patch_camelyon:3.*.*").read(folder, dataset, "800")
    assert other.notes[1] == (
        "VTAB-1k's slices, but not surely its images: it is defined on patch_camelyon:3.*.*"
    )
    (folder / "patch_camelyon-test.tfrecord-00000-of-00002").unlink()
    with pytest.raises(DataError, match="1 of 2 files of the split 'test'"):
        reader.read(folder, dataset, "800")


def test_the_version_that_vtab_uses_is_preferred_to_a_newer_one(tmp_path: Path) -> None:
    reader = Tfds("kitti:3.2.*")
    assert reader.find(tmp_path) is None
    for version in ("3.2.0", "3.10.0", "3.3.0", "3.2.1.incomplete"):
        folder = tmp_path / "tensorflow_datasets/kitti" / version
        folder.mkdir(parents=True)
        write_records(folder / "kitti-train.tfrecord-00000-of-00001", [])
        if version == "3.3.0":
            newest = reader.find(tmp_path)
            assert newest is not None
            assert newest.name == "3.2.0"
            assert reader.find(tmp_path / "tensorflow_datasets/kitti") == newest
    (tmp_path / "tensorflow_datasets/kitti/3.2.0/kitti-train.tfrecord-00000-of-00001").unlink()
    newest = reader.find(tmp_path)
    assert newest is not None
    assert newest.name == "3.10.0"


def test_a_record_is_not_named_after_another_format(tmp_path: Path) -> None:
    write_tfds("vtab/pets", tmp_path)
    dataset = catalog.load("vtab/pets")
    reader = reader_of(dataset, Tfds)
    table = reader.read(tmp_path / "oxford_iiit_pet/3.1.1", dataset, "full")
    report = verify(to_task(table, "pets"))
    assert {finding.kind for finding in report.findings} & {"wrong-suffix"} == set()


def test_numbers_are_read_packed_and_one_by_one(tmp_path: Path) -> None:
    values = {"a": [1, -2, 1 << 40], "b": [0.5, -1.25], "c": [b"xy", b""], "d": [7]}
    path = tmp_path / "records"
    write_records(path, [example(values), example(values, packed=False), b""])
    data = map_file(path)
    packed, single, empty = (read_record(data, r, path) for r in locate_records(data, path))
    assert not empty
    assert packed == single == values


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "the file is cut off"),
        (lambda data: data[:7], "the file is cut off"),
        (lambda data: b"\x01" + data[1:], r"no tf\.train\.Example"),
        (lambda data: data[:7] + b"\x01" + data[8:], "the file is cut off"),
        (lambda data: data[:12] + b"\xff" * 20 + data[32:], r"no tf\.train\.Example"),
        (lambda data: data[:12] + b"\x0b" + data[13:], r"no tf\.train\.Example"),
    ],
)
def test_damaged_record_files_are_refused(tmp_path: Path, damage: Damage, message: str) -> None:
    path = tmp_path / "records"
    write_records(path, [example({"image": b"0123456789" * 4, "label": 3})])
    path.write_bytes(damage(path.read_bytes()))
    data = map_file(path)
    with pytest.raises(DataError, match=message):
        _ = [read_record(data, r, path) for r in locate_records(data, path)]
