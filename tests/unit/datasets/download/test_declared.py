"""What the declarations say of downloads: addresses, checksums, and places where readers look."""

import re
from pathlib import Path

import pytest

from fewtune.datasets import catalog
from fewtune.datasets.declaration import Download, Shards
from fewtune.datasets.download.download_plan import chosen, folder_of
from fewtune.datasets.loading import places

DECLARED = {name: catalog.load(name) for name in catalog.declared()}
CHECKSUM = re.compile(r"(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})?")
INSIDE = re.compile(r"\.|[\w.-]+(/[\w.-]+)*")


def test_addresses_checksums_and_paths_are_well_formed() -> None:
    items = {item for dataset in DECLARED.values() for item in dataset.downloads}
    files = [item for item in items if isinstance(item, Download)]
    assert len(files) > 30
    for item in files:
        assert item.url.startswith(("https://", "http://")), item
        assert CHECKSUM.fullmatch(item.checksum), item
        for path in (item.path, item.unpack or ".", *item.inner):
            assert INSIDE.fullmatch(path), item
            assert ".." not in path.split("/"), item
    assert len({item.path for item in files}) == len(files) == len({item.url for item in files})


@pytest.mark.parametrize("name", [n for n, d in DECLARED.items() if d.downloads])
def test_readers_look_where_shards_are_put(tmp_path: Path, name: str) -> None:
    dataset = DECLARED[name]
    shards = [item for item in dataset.downloads if isinstance(item, Shards)]
    if not shards:
        assert chosen(dataset) == list(dataset.downloads)
        return
    folder = folder_of(shards[0], tmp_path)
    (folder / "test").mkdir(parents=True)
    (folder / "test/nshards.txt").write_text("1\n")
    assert folder in [place for _, place in places(dataset.readers, tmp_path)]


# What lies at the top of each archive that cannot be downloaded in a test.
UNPACKED = {
    "vtab/dtd": "dtd/labels/train1.txt dtd/labels/test1.txt dtd/images/x",
    "vtab/cifar100": "cifar-100-binary/train.bin cifar-100-binary/test.bin",
    "vtab/pets": "oxford_pets/images/x oxford_pets/annotations/trainval.txt "
    "oxford_pets/annotations/test.txt",
    "vtab/flowers102": "oxford_flowers/jpg/x oxford_flowers/imagelabels.mat "
    "oxford_flowers/setid.mat",
    "vtab/eurosat": "eurosat/2750/AnnualCrop/x",
    "vtab/clevr-count": "CLEVR_v1.0/scenes/CLEVR_train_scenes.json CLEVR_v1.0/images/train/x",
    "vtab/kitti": "kitti/training/image_2/x kitti/training/label_2/x",
    "fewshot/caltech101": "caltech-101/101_ObjectCategories/accordion/x "
    "caltech-101/split_zhou_Caltech101.json",
    "fewshot/food101": "food-101/images/x food-101/split_zhou_Food101.json",
    "fewshot/aircraft": "fgvc-aircraft-2013b/data/images_variant_train.txt "
    "fgvc-aircraft-2013b/data/variants.txt",
    "fewshot/sun397": "sun397/SUN397/a/x sun397/split_zhou_SUN397.json",
    "fewshot/ucf101": "ucf101/UCF-101-midframes/x ucf101/split_zhou_UCF101.json",
    "imagenet-a": "imagenet-adversarial/imagenet-a/n01498041/x "
    "imagenet-adversarial/imagenet-a/n01531178/x",
    "imagenet-v2": "imagenetv2/imagenetv2-matched-frequency-format-val/0/x "
    "imagenetv2/imagenetv2-matched-frequency-format-val/1/x",
    "imagenet-sketch": "imagenet-sketch/sketch/n01440764/x imagenet-sketch/sketch/n01443537/x",
}


@pytest.mark.parametrize("name", UNPACKED)
def test_readers_look_where_archives_are_unpacked(tmp_path: Path, name: str) -> None:
    files = UNPACKED[name].split()
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    tops = {tmp_path / file.split("/")[0] for file in files}
    assert all(
        tmp_path / (Path(item.path).parts[0]) in tops
        for item in chosen(DECLARED[name])
        if isinstance(item, Download)
    )
    assert places(DECLARED[name].readers, tmp_path)


@pytest.mark.parametrize("name", ["vtab/svhn", "vtab/smallnorb-azimuth", "vtab/dsprites-location"])
def test_readers_look_where_single_files_are_put(tmp_path: Path, name: str) -> None:
    for item in chosen(DECLARED[name]):
        assert isinstance(item, Download)
        (tmp_path / item.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / item.path).touch()
    layouts = [reader.layout for reader, _ in places(DECLARED[name].readers, tmp_path)]
    assert [layout for layout in layouts if layout != "regenerated dSprites"]
