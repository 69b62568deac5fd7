"""The authors' files where they are incomplete, damaged, or need what is not installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fewtune.core.errors import DataError
from fewtune.data.decode import open_image
from fewtune.datasets import catalog
from fewtune.datasets.readers.original_files import Caltech101, OriginalFiles
from miniatures import originals
from miniatures.vtab import reader_of

Change = Callable[[Path], object]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "cache"))


def original(name: str) -> OriginalFiles:
    return reader_of(catalog.load(f"vtab/{name}"), OriginalFiles)


def test_kitti_without_drives_is_split_by_image(tmp_path: Path) -> None:
    originals.kitti("vtab/kitti", tmp_path)
    dataset, reader = catalog.load("vtab/kitti"), original("kitti")
    (tmp_path / "kitti/mapping/train_rand.txt").write_text("1,2,999")
    with pytest.raises(DataError, match=r"train_rand\.txt does not fit train_mapping\.txt"):
        reader.read(tmp_path / "kitti", dataset, "full")
    (tmp_path / "kitti/mapping/train_rand.txt").unlink()
    table = reader.read(tmp_path / "kitti", dataset, "full")
    assert Counter(row.split for row in table.rows) == {"train": 10, "test": 2}
    assert "own split by image" in table.notes[0]
    (tmp_path / "kitti/training/label_2/000003.txt").write_text("Car 0.00 0\n")
    with pytest.raises(DataError, match=r"000003\.txt line 1 is 'Car 0\.00 0', expected the 15"):
        reader.read(tmp_path / "kitti", dataset, "full")


def test_caltech_trains_on_at_most_thirty_of_a_class(tmp_path: Path) -> None:
    originals.caltech101("vtab/caltech101", tmp_path)
    dataset = catalog.load("vtab/caltech101")
    table = Caltech101().read(tmp_path / "caltech101", dataset, "full")
    sizes = Counter((row.class_name, row.split == "test") for row in table.rows)
    assert sizes["accordion", False] == 30
    assert sizes["accordion", True] == 3
    assert sizes["background_google", False] == 3
    assert table.notes[0].startswith("own test split")


def test_sun397_takes_its_lists_from_the_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = originals.sun397("vtab/sun397", tmp_path)
    reader = original("sun397")
    package = tmp_path / "site/tensorflow_datasets"
    (package / "image_classification").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it is not imported')")
    for file in tmp_path.glob("sun397_tfds_*.txt"):
        file.rename(package / "image_classification" / file.name)
    assert reader.find(tmp_path) is None
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    location = reader.find(tmp_path)
    assert location == tmp_path / "SUN397"
    dataset = catalog.load("vtab/sun397")
    rows = reader.read(location, dataset, "full").rows
    assert {row.key for row in rows} == {image.key for image in manifest.images}
    with (package / "image_classification/sun397_tfds_te.txt").open("a") as file:
        file.write("/a/../../x/sun.jpg\n")
    with pytest.raises(DataError, match=r"sun397_tfds_te\.txt line 4 .*leads out of the folder"):
        reader.read(location, dataset, "full")


def test_a_pickle_of_others_is_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch hit'\ntR.")
    dataset = catalog.load("vtab/cifar100")
    reader = next(r for r in dataset.readers if r.layout == "CIFAR-100, Python version")
    assert reader.find(tmp_path) == folder
    with pytest.raises(DataError, match="a pickle of others is not opened"):
        reader.read(folder, dataset, "full")


class FakeH5(dict[str, Any]):
    """What `h5py.File` is to a reader: arrays by name, in a `with`."""

    def __init__(self, path: Path, mode: str) -> None:
        assert mode == "r"
        super().__init__(np.load(path, allow_pickle=False))

    def __enter__(self) -> FakeH5:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


def test_patch_camelyon_by_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, dataset = original("pcam"), catalog.load("vtab/pcam")
    folder = tmp_path / "pcam"
    folder.mkdir()
    for split, count in (("train", 4), ("valid", 2), ("test", 2)):
        stem = f"camelyonpatch_level_2_split_{split}"
        images = np.arange(count * 12, dtype=np.uint8).reshape(count, 2, 2, 3)
        labels = (np.arange(count) % 2).reshape(count, 1, 1, 1)
        for part, array in (("x", images), ("y", labels)):
            with (folder / f"{stem}_{part}.h5").open("wb") as file:
                np.savez(file, **{part: array})
    location = reader.find(tmp_path)
    assert location == folder
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"pip install \"fewtune\[originals\]\""):
        reader.read(location, dataset, "full")
    h5py = ModuleType("h5py")
    h5py.File = FakeH5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "h5py", h5py)
    rows = {row.key: row for row in reader.read(location, dataset, "full").rows}
    assert {key: row.split for key, row in rows.items() if row.split == "val"} == {
        "valid/000000": "val",
        "valid/000001": "val",
    }
    assert rows["train/000003"].class_name == dataset.classes[1]
    assert np.asarray(open_image(rows["train/000003"].source)).ravel().tolist() == [*range(36, 48)]


def test_dsprites_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    originals.dsprites("vtab/dsprites-location", tmp_path)
    dataset, reader = catalog.load("vtab/dsprites-location"), original("dsprites-location")
    location = reader.find(tmp_path)
    assert location is not None
    rows = reader.read(location, dataset, "full").rows
    images = np.load(next(location.glob("*.npz")))["imgs"]
    for row in rows[::7]:
        pixels = np.asarray(open_image(row.source))
        assert (pixels == images[int(row.key)][..., None] * 255).all()
    unpacked = list((tmp_path / "cache/unpacked").iterdir())
    assert [file.stat().st_size for file in unpacked] == [40 * 512]
    before = unpacked[0].stat().st_mtime_ns
    reader.read(location, dataset, "800")
    assert unpacked[0].stat().st_mtime_ns == before


def test_smallnorb_shows_the_first_camera(tmp_path: Path) -> None:
    originals.smallnorb("vtab/smallnorb-azimuth", tmp_path)
    reader = original("smallnorb-azimuth")
    rows = reader.read(tmp_path / "smallnorb", catalog.load("vtab/smallnorb-azimuth"), "full").rows
    for row in rows:
        assert open_image(row.source).getpixel((5, 5))[0] == int(row.key.rpartition("/")[2])


def cut_short(name: str) -> Change:
    def change(root: Path) -> None:
        (path,) = root.glob(name)
        path.write_bytes(path.read_bytes()[:-90])

    return change


def bad_scene(root: Path) -> None:
    file = root / "CLEVR_v1.0/scenes/CLEVR_train_scenes.json"
    scenes = json.loads(file.read_text())
    scenes["scenes"][0]["objects"][0]["pixel_coords"][2] = -1
    file.write_text(json.dumps(scenes))


def escaping_scene(root: Path) -> None:
    file = root / "CLEVR_v1.0/scenes/CLEVR_train_scenes.json"
    file.write_text(file.read_text().replace("CLEVR_train_000003.png", "../../../../x.png"))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("clevr-count", cut_short("*/scenes/*train*"), "not CLEVR's list"),
        ("clevr-count", escaping_scene, "leads out of the folder"),
        ("clevr-distance", bad_scene, "-1.0 away, expected above 0"),
        ("dsprites-location", cut_short("*/*.npz"), "Cannot read|no array"),
        ("smallnorb-azimuth", cut_short("*/*training-dat*"), "file ended"),
        (
            "svhn",
            cut_short("svhn/test*"),
            "Cannot read '[Xy]'",
        ),
        (
            "retinopathy",
            lambda root: next(root.glob("*/trainLabels.csv")).write_text("image,level\na,5\n"),
            "grade of retinopathy",
        ),
        (
            "retinopathy",
            lambda root: next(root.glob("*/trainLabels.csv")).write_text("image,level\na,x\n"),
            r"trainLabels\.csv line 2",
        ),
    ],
)
def test_damaged_files_are_named(name: str, change: Change, message: str, tmp_path: Path) -> None:
    originals.write_original(f"vtab/{name}", tmp_path)
    change(tmp_path)
    reader = original(name)
    location = reader.find(tmp_path)
    with pytest.raises(DataError, match=message):
        reader.read(location, catalog.load(f"vtab/{name}"), "full")
