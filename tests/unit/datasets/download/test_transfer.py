"""One file from a web server that fails as networks do."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fewtune.core.errors import DataError
from fewtune.datasets.download import http_file as module
from fewtune.datasets.download.http_file import Remote, fetch
from miniatures.hub import FakeHub, serve

CONTENT = bytes(range(256)) * 4000
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(module, "BLOCK_BYTES", 10_000)
    (tmp_path / "web").mkdir()
    (tmp_path / "web/a.bin").write_bytes(CONTENT)
    with serve(tmp_path / "web") as running:
        yield running


def remote(hub: FakeHub, checksum: str = SHA256, size: int | None = len(CONTENT)) -> Remote:
    return Remote(f"{hub.url}/a.bin", size, checksum)


@pytest.mark.parametrize("checksum", [SHA256, MD5, ""])
def test_a_cut_connection_is_continued_where_it_broke(
    hub: FakeHub, tmp_path: Path, checksum: str
) -> None:
    hub.cuts, hub.statuses = [300_000, 5, 0], [503]
    told: list[tuple[int, int | None]] = []
    path = fetch(remote(hub, checksum), tmp_path / "d/a.bin", lambda *count: told.append(count))
    assert path.read_bytes() == CONTENT
    assert [wanted for _, wanted in hub.seen] == [
        "",
        "",
        "bytes=300000-",
        "bytes=300005-",
        "bytes=300005-",
    ]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in (tmp_path / "d").iterdir()] == ["a.bin"]
    fetch(remote(hub, checksum), path)
    assert len(hub.seen) == 5


def test_another_process_continues_and_a_server_without_ranges_starts_again(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    hub.cuts = [0]
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match=r"ended after 1,000 of .* continues where it stopped"):
        fetch(remote(hub), tmp_path / "a.bin")
    hub.ranges = False
    assert fetch(remote(hub), tmp_path / "a.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in hub.seen] == ["bytes=1000-", "bytes=1000-"]


def test_a_part_of_another_file_is_fetched_anew(hub: FakeHub, tmp_path: Path) -> None:
    for part in (b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)):
        path = tmp_path / f"{len(part)}.bin"
        path.with_name(path.name + ".part").write_bytes(part)
        assert fetch(remote(hub), path).read_bytes() == CONTENT
    # Nothing tells whether this one is right: its version was not written down.
    (tmp_path / "b.bin.part").write_bytes(b"x")
    assert fetch(remote(hub, "", None), tmp_path / "b.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("checksum", "size", "message"),
    [
        ("sha256:" + "0" * 64, len(CONTENT), "its sha256 is .* expected 0000.* It was removed"),
        ("", len(CONTENT) + 1, "has 1,024,000 bytes, expected 1,024,001"),
        (SHA256, 5, "has 1,024,000 bytes, expected 5"),
    ],
)
def test_a_wrong_file_is_refused_and_removed(
    hub: FakeHub, tmp_path: Path, checksum: str, size: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fetch(remote(hub, checksum, size), tmp_path / "d/a.bin")
    assert list((tmp_path / "d").iterdir()) == []


def test_web_pages_and_answers_that_are_none(hub: FakeHub, tmp_path: Path) -> None:
    (hub.folder / "a.bin").write_bytes(b"<!DOCTYPE html><p>Quota exceeded")
    with pytest.raises(DataError, match="it is a web page"):
        fetch(remote(hub, "", None), tmp_path / "a.bin")
    with pytest.raises(DataError, match="answered 404"):
        fetch(Remote(f"{hub.url}/gone"), tmp_path / "gone")
    hub.statuses = [503] * module.ATTEMPTS
    with pytest.raises(DataError, match="answered 503"):
        fetch(remote(hub), tmp_path / "a.bin")
    with pytest.raises(DataError, match="no address of the web"):
        fetch(Remote("file:///etc/passwd"), tmp_path / "a.bin")


def test_offline_is_respected(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"a\.bin is not here, and HF_HUB_OFFLINE is set"):
        fetch(remote(hub), tmp_path / "a.bin")
    assert hub.seen == []
