"""What --data accepts: a path, or the name of a dataset; and the sample that comes along."""

from __future__ import annotations

import gzip
import pickle
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewtune.core.errors import ConfigError, DataError
from fewtune.data.decode import open_image
from fewtune.data.verify import verify
from fewtune.datasets import catalog, samples
from fewtune.datasets.samples import CLOTHING, FASHION, SampleArchive
from fixtures import class_folders, fashion_zip

EXAMPLE = Path(__file__).parents[3] / "examples" / "fashion_mnist.py"


def test_names_are_the_modules() -> None:
    assert "fashion" in catalog.names()
    assert not {"catalog", "folder"} & set(catalog.names())


def test_a_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "fashion", {"hat": 1, "coat": 1})
    monkeypatch.chdir(tmp_path)
    assert catalog.resolve("fashion").classes.names == ("coat", "hat")
    assert catalog.resolve(tmp_path / "fashion", templates=["{}"]).classes.texts(0) == ("coat",)


def test_unknown_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    with pytest.raises(ConfigError, match=r"Did you mean 'fashion'.*--data path/to/images"):
        catalog.resolve("Fashon")
    with pytest.raises(ConfigError, match=r"no folder called 'zebra'.*Known: .*fashion"):
        catalog.resolve("zebra")
    with pytest.raises(DataError, match=r"does not exist.*'pets'"):
        catalog.resolve("./petz")
    with pytest.raises(DataError, match="does not exist"):
        catalog.resolve("labels.csv")
    for odd in ("a\0b", "~no-such-user-here/x", "x" * 5000, ""):
        with pytest.raises((ConfigError, DataError)):
            catalog.resolve(odd)


def test_sample(tmp_path: Path) -> None:
    archive = fashion_zip(tmp_path / "fashion.zip", FASHION.classes)
    task = samples.load(replace(FASHION, archive=archive), templates=["a {}"])
    assert task.classes.names == FASHION.classes
    assert (len(task.train), len(task.test)) == (20, 30)
    assert task.train[0].key == "train/t-shirt/0.png"
    assert {task.classes.names[e.label] for e in task.test if "ankle" in e.key} == {"ankle boot"}
    assert task.classes.texts(9) == ("a ankle boot",)
    assert "MIT" in task.licence
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda e: open_image(e.source), task.test * 10))
    assert {image.size for image in images} == {(28, 28)}
    assert verify(task).errors == ()
    again = pickle.loads(pickle.dumps(task.train[0].source))
    assert again.read() == task.train[0].source.read()


@pytest.mark.parametrize(("sample", "test"), [(FASHION, 100), (CLOTHING, 50)])
def test_the_samples_in_the_package_are_whole(sample: SampleArchive, test: int) -> None:
    task = catalog.resolve(sample.name)
    counts = verify(task).counts
    assert counts["train"] == dict.fromkeys(sample.classes, 16)
    assert counts["test"] == dict.fromkeys(sample.classes, test)
    assert verify(task).errors == ()
    assert sample.archive.stat().st_size < 6 * 2**20


def test_damaged_sample(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read.*Reinstall"):
        samples.load(replace(FASHION, archive=tmp_path / "none.zip"))
    (tmp_path / "bad.zip").write_bytes(b"PK not really")
    with pytest.raises(DataError, match="cannot be read"):
        samples.load(replace(FASHION, archive=tmp_path / "bad.zip"))
    few = fashion_zip(tmp_path / "few.zip", FASHION.classes[:9])
    with pytest.raises(DataError, match="no images of ankle boot"):
        samples.load(replace(FASHION, archive=few))


def idx_gz(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


def run_example(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLE, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_example_turns_the_package_into_folders(tmp_path: Path) -> None:
    source = tmp_path / "package"
    source.mkdir()
    labels = np.array([9, 0, *range(10)])
    pictures = np.random.default_rng(0).integers(0, 256, (12, 28, 28))
    for prefix in ("train", "t10k"):
        idx_gz(source / f"{prefix}-images-idx3-ubyte.gz", pictures)
        idx_gz(source / f"{prefix}-labels-idx1-ubyte.gz", labels)
    target = tmp_path / "fashion"
    (tmp_path / "fashion.partial/train").mkdir(parents=True)  # what an interrupted run leaves
    done = run_example(target, "--source", source)
    assert done.returncode == 0, done.stderr
    task = catalog.resolve(target)
    assert set(task.classes.names) == set(FASHION.classes)
    assert (len(task.train), len(task.test)) == (12, 12)
    first = np.asarray(open_image(target / "test/ankle boot/00000.png"))
    np.testing.assert_array_equal(first[:, :, 0], pictures[0])
    again = run_example(target, "--source", source)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_example_without_the_package(tmp_path: Path) -> None:
    failed = run_example(tmp_path / "out", "--source", tmp_path)
    assert failed.returncode == 1
    assert "sudo apt install dataset-fashion-mnist" in failed.stderr
    assert not (tmp_path / "out").exists()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"junk")
    damaged = run_example(tmp_path / "out", "--source", tmp_path)
    assert "is damaged" in damaged.stderr
    assert "Traceback" not in damaged.stderr
