"""Downloads of whole datasets from a web server on this machine."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import close_session
from write_archives import write_tar, write_zip

from fewtune.core.errors import ConfigError, DataError, RunError
from fewtune.core.lock import locked
from fewtune.datasets import catalog
from fewtune.datasets.declaration import Dataset, Download, Shards
from fewtune.datasets.download import fetch_dataset as module
from fewtune.datasets.download import http_file, hub_shards
from fewtune.datasets.download.download_plan import chosen, size_bytes, targets
from fewtune.datasets.download.fetch_dataset import download
from miniatures.hub import FakeHub, connect, serve

REPO = "clip-benchmark/wds_vtab-dtd"
SHARDS = {"train": 2, "test": 3}


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A webdataset repository, and archives next to it."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(http_file, "FIRST_WAIT_S", 0.0)
    repo = tmp_path / "web/datasets" / REPO
    for split, count in SHARDS.items():
        (repo / split).mkdir(parents=True)
        (repo / split / "nshards.txt").write_text(f"{count}\n")
        for number in range(count):
            write_tar(repo / split / f"{number}.tar", {"a.cls": f"{split}{number}".encode()})
    (repo / "classnames.txt").write_text("banded\n\nblotchy")
    with serve(tmp_path / "web") as running:
        connect(running.url, monkeypatch)
        yield running
        close_session()


def declared(*downloads: Download | Shards, by_hand: str = "") -> Dataset:
    return replace(catalog.load("vtab/dtd"), by_hand=by_hand, downloads=downloads)


def test_shards_arrive_split_by_split_and_are_not_fetched_twice(
    web: FakeHub, tmp_path: Path
) -> None:
    dataset, root = declared(Shards(REPO)), tmp_path / "data"
    told: list[str] = []
    assert download(dataset, root, ["test"], lambda text, *_: told.append(text)) == [
        root / "wds_vtab-dtd"
    ]
    assert dict.fromkeys(told) == dict.fromkeys(
        f"wds_vtab-dtd/test/{number}.tar ({number + 1} of 3)" for number in range(3)
    )
    assert not (root / "wds_vtab-dtd/train").exists()
    before = len(web.seen)
    download(dataset, root)
    assert not any("/test/" in path for path, _ in web.seen[before:])
    for file in (web.folder / "datasets" / REPO).rglob("*.*"):
        arrived = root / "wds_vtab-dtd" / file.relative_to(web.folder / "datasets" / REPO)
        assert arrived.read_bytes() == file.read_bytes()
    assert targets(dataset, root) == {root / "wds_vtab-dtd"}


def test_a_split_is_complete_only_with_its_last_shard(
    web: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_file, "ATTEMPTS", 1)
    web.cuts = [10_000, 100]
    with pytest.raises(DataError, match=r"test/1\.tar cannot be fetched: the connection ended"):
        download(declared(Shards(REPO)), tmp_path / "data", ["test"])
    folder = tmp_path / "data/wds_vtab-dtd/test"
    assert sorted(path.name for path in folder.iterdir()) == [
        "0.tar",
        "1.tar.part",
        "1.tar.part.etag",
    ]
    download(declared(Shards(REPO)), tmp_path / "data", ["test"])
    assert [path for path in web.seen if path[1]] == [
        (f"/datasets/{REPO}/resolve/main/test/1.tar", "bytes=100-")
    ]
    assert sorted(path.name for path in folder.iterdir()) == [
        "0.tar",
        "1.tar",
        "2.tar",
        "nshards.txt",
    ]


def test_repositories_that_are_gone_or_odd(web: FakeHub, tmp_path: Path) -> None:
    gone = declared(Shards("clip-benchmark/wds_gone"), by_hand="Ask the authors.")
    with pytest.raises(
        DataError, match=r"has no train split any more\. .*By hand: Ask the authors"
    ):
        download(gone, tmp_path / "data")
    (web.folder / "datasets" / REPO / "train/nshards.txt").write_text("<html>")
    with pytest.raises(DataError, match="says that it has '<html>' train shards"):
        download(declared(Shards(REPO)), tmp_path / "data")


def archive(web: FakeHub, name: str, **changes: object) -> Download:
    content = (web.folder / name).read_bytes()
    item = Download(
        f"{web.url}/{name}",
        f"dtd/{name}",
        len(content),
        f"sha256:{hashlib.sha256(content).hexdigest()}",
    )
    return replace(item, **changes)  # type: ignore[arg-type]


def test_archives_are_unpacked_once_with_those_within_and_removed(
    web: FakeHub, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    inner = write_tar(tmp_path / "inner.tar.gz", {"images/a.jpg": b"1"})
    write_zip(web.folder / "dtd.zip", {"dtd/inner.tar.gz": inner.read_bytes(), "dtd/b": b"2"})
    (web.folder / "split.json").write_text("{}")
    item = archive(web, "dtd.zip", unpack=".", inner=("dtd/inner.tar.gz",))
    dataset = declared(item, archive(web, "split.json"))
    for _ in range(2):
        download(dataset, root)
        files = {p.relative_to(root).as_posix() for p in root.glob("dtd/**/*") if p.is_file()}
        assert files == {"dtd/images/a.jpg", "dtd/b", "dtd/split.json"}
    assert len(web.seen) == 2
    assert targets(dataset, root) == {root / "dtd"}
    assert size_bytes(dataset) == ((item.size_bytes or 0) + 2, True)
    assert size_bytes(declared(Shards(REPO))) == (0, False)
    shutil.rmtree(root / "dtd")
    download(dataset, root)
    assert (root / "dtd/images/a.jpg").is_file()


def test_the_authors_files_come_first_and_shards_split_by_split(
    web: FakeHub, tmp_path: Path
) -> None:
    (web.folder / "all.bin").write_bytes(b"1")
    files, shards = archive(web, "all.bin"), Shards(REPO)
    both = declared(files, shards)
    assert chosen(both) == [files]
    assert chosen(both, ["test"]) == chosen(both, shards=True) == [shards]
    assert chosen(declared(files), ["test"]) == [files]
    with pytest.raises(ConfigError, match="has no webdataset shards"):
        chosen(declared(files), shards=True)
    assert download(both, tmp_path, ["test"]) == [tmp_path / "wds_vtab-dtd"]
    assert download(both, tmp_path) == [tmp_path / "dtd/all.bin"]


def test_a_file_of_the_hub_is_compared_with_what_the_hub_publishes(
    web: FakeHub, tmp_path: Path
) -> None:
    url = f"{hub_shards.HUB}/datasets/{REPO}/resolve/main/test/0.tar"
    download(declared(Download(url, "dtd/0.tar")), tmp_path)
    path = f"/datasets/{REPO}/resolve/main/test/0.tar"
    assert (web.asked, web.seen) == ([path], [(path, "")])
    remote = hub_shards.published(url)
    assert remote.size_bytes == (tmp_path / "dtd/0.tar").stat().st_size
    assert remote.checksum.startswith("sha256:")


def test_a_mirror_of_the_hub_is_named_by_the_environment() -> None:
    wanted = f"mirrored('{hub_shards.HUB}/a')"
    code = f"from fewtune.datasets.download.hub_shards import mirrored; print({wanted})"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_ENDPOINT": "https://mirror.example/"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "https://mirror.example/a\n"


def test_what_cannot_be_done_is_said_before_it_is_begun(
    web: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"cannot be downloaded by a program\. Ask the authors"):
        download(declared(by_hand="Ask the authors."), tmp_path)
    with pytest.raises(ConfigError, match=r"no 'val' split .* It has: test, train"):
        download(declared(Shards(REPO)), tmp_path, ["val"])
    with locked(tmp_path / ".downloads", wait=False), pytest.raises(RunError, match="Another"):
        download(declared(Shards(REPO)), tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=2))
    with pytest.raises(DataError, match=r"needs 0\.0 GB and .* has 0\.0 GB left"):
        download(declared(Shards(REPO)), tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    web.seen.clear()
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        download(declared(Shards(REPO)), tmp_path)
    assert web.seen == []
