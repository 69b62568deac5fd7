"""Archives from the web: what is taken out of them, and what is refused."""

import contextlib
import gzip
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from write_archives import write_tar, write_zip

from fewtune.core.errors import DataError
from fewtune.datasets.download import archive as module
from fewtune.datasets.download.archive import unpack


def run(archive: Path, folder: Path) -> tuple[str, ...]:
    return unpack(archive, folder, folder.parent / "work")


FILES = {"dtd/images/a.jpg": b"1", "dtd/b.txt": b"22", "README": b""}
Writer = Callable[[Path, dict[str, bytes]], Path]


@pytest.mark.parametrize(("name", "writer"), [("a.zip", write_zip), ("a.tgz", write_tar)])
def test_files_are_added_to_a_folder(tmp_path: Path, name: str, writer: Writer) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for _ in range(2):
        assert run(writer(tmp_path / name, FILES), folder) == ("README", "dtd")
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
    assert found == {"dtd/images/a.jpg": b"1", "dtd/b.txt": b"22", "mine.txt": b"mine"}
    (folder / "README").write_text("my own words")
    with pytest.raises(DataError, match="README exists and is another file"):
        run(tmp_path / name, folder)
    assert (folder / "README").read_text() == "my own words"


def test_a_single_compressed_file(tmp_path: Path) -> None:
    (tmp_path / "norb.mat.gz").write_bytes(gzip.compress(b"matrix"))
    run(tmp_path / "norb.mat.gz", tmp_path / "data")
    assert (tmp_path / "data/norb.mat").read_bytes() == b"matrix"


OUTSIDE = ["../a", "/a", "a/../../b", "a//b", "a\\..\\b", "C:a", "a/.", "x" * 300, "a/" * 600 + "b"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_escapes(tmp_path: Path, name: str) -> None:
    for archive in (
        write_tar(tmp_path / "a.tar", {"fine": b"1", name: b"2"}, mode="w"),
        write_zip(tmp_path / "a.zip", {"fine": b"1", name: b"2"}),
    ):
        with pytest.raises(DataError, match=r"is not unpacked: .* is no path within it"):
            run(archive, tmp_path / "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "a.zip"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(DataError, match="'link' is no plain file"):
        run(write_tar(tmp_path / "a.tgz", FILES, link=kind), tmp_path / "data")
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="'link' is no plain file"):
        run(tmp_path / "a.zip", tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("name", "writer"), [("a.zip", write_zip), ("a.tgz", write_tar)])
def test_bombs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, writer: Writer
) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 0)
    with pytest.raises(DataError, match="more than 100 times its size: a decompression bomb"):
        run(writer(tmp_path / name, {"zeros": bytes(3_000_000)}), tmp_path / "data")
    monkeypatch.setattr(module, "MOST_MEMBERS", 2)
    with pytest.raises(DataError, match="more than 2 members"):
        run(writer(tmp_path / name, FILES), tmp_path / "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_what_a_disk_does_not_hold_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=2))
    with pytest.raises(DataError, match="GB are free"):
        run(write_zip(tmp_path / "a.zip", FILES), tmp_path / "data")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(alphabet="a./\\:\0é ", max_size=12),
    damage=st.integers(min_value=0, max_value=700),
    byte=st.integers(min_value=0, max_value=255),
    is_zip=st.booleans(),
)
def test_no_archive_gives_a_traceback_or_leaves_its_folder(
    tmp_path_factory: pytest.TempPathFactory, name: str, damage: int, byte: int, is_zip: bool
) -> None:
    place = tmp_path_factory.mktemp("fuzz")
    if is_zip:
        archive = write_zip(
            place / "a.zip", {"first": b"1" * 200, name.replace("\0", "") or "a": b"2"}
        )
    else:
        archive = write_tar(place / "a.tar", {"first": b"1" * 200, name: b"2"}, mode="w")
    data = bytearray(archive.read_bytes())
    data[damage % len(data)] = byte
    archive.write_bytes(data)
    with contextlib.suppress(DataError):
        run(archive, place / "data")
    assert {p.name for p in place.iterdir()} <= {archive.name, "data"}
