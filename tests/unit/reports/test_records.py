"""The records of a study in one file make the same report as its folders."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from fewtune.core.errors import DataError, RunError
from fewtune.core.files import write_text
from fewtune.reports.packed_records import opened, pack
from fewtune.reports.study_report import write_report
from studies import Writer

GROUPS = {"flowers": "natural", "spheres": "structured"}


def test_packed_records_make_the_same_report(runs: Path, tmp_path: Path) -> None:
    for file in runs.rglob("predictions.csv"):  # which are not packed
        file.unlink()
    pack([runs], tmp_path / "study.tar.xz")
    pack([runs], tmp_path / "again.tar.xz")
    assert (tmp_path / "study.tar.xz").read_bytes() == (tmp_path / "again.tar.xz").read_bytes()
    plain = write_report([runs], tmp_path / "plain", GROUPS).parent
    with opened([tmp_path / "study.tar.xz"]) as folders:
        packed = write_report(folders, tmp_path / "packed", GROUPS).parent
    assert not folders[0].exists()
    assert {file.name for file in packed.iterdir()} == {file.name for file in plain.iterdir()}
    for file in plain.iterdir():
        assert file.read_bytes() == (packed / file.name).read_bytes(), file.name


def test_weights_and_incomplete_runs_are_not_packed(write: Writer, tmp_path: Path) -> None:
    run = write.run("linear-probe", "flowers", 0.5)
    write_text(run / "adapter.safetensors", "weights")
    (write.run("linear-probe", "spheres", 0.5) / "record.json").unlink()
    pack([write.folder], tmp_path / "study.tar.xz")
    with tarfile.open(tmp_path / "study.tar.xz") as archive:
        assert archive.getnames() == [f"{run.name}/record.json", f"{run.name}/spec.json"]


def test_a_file_without_records_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar.xz", "w:xz") as archive:
        archive.addfile(tarfile.TarInfo("cat.jpg"))
    with pytest.raises(RunError, match=r"photos\.tar\.xz"), opened([tmp_path / "photos.tar.xz"]):
        pass


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "study.tar.xz", "\xfd7zXZ cut off")
    with pytest.raises(DataError, match=r"study\.tar\.xz"), opened([tmp_path / "study.tar.xz"]):
        pass
