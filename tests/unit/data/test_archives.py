"""An archive or a URL in the place of images is met with the commands that make a folder of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.core.errors import DataError
from fewtune.data.archives import refuse_packed
from fewtune.datasets.catalog import resolve


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("photos.zip", "unzip photos.zip -d photos. Then: --data photos"),
        ("photos.TAR.GZ", "mkdir photos && tar xf photos.TAR.GZ -C photos. Then: --data photos"),
        ("my photos.7z", "7z x 'my photos.7z' -o'my photos'. Then: --data 'my photos'"),
        ("photos.rar", "unrar x photos.rar photos/. Then: --data photos"),
    ],
)
def test_an_archive_is_to_be_unpacked(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    with pytest.raises(DataError) as caught:
        resolve(name)
    assert caught.value.hint == f"Unpack it: {command}"


def test_an_archive_that_was_unpacked_is_found_next_to_it(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").touch()
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=rf"try --data {tmp_path}/photos$"):
        refuse_packed(str(tmp_path / "photos.zip"))


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://a.org/x/p.zip", "curl -LO https://a.org/x/p.zip && unzip p.zip -d p. Then: --da"),
        ("https://a.org/x?y=1", "curl -LO 'https://a.org/x?y=1'. Then: --data DIR"),
        ("s3://bucket/photos", "Download it first, then: --data DIR"),
    ],
)
def test_a_url_is_to_be_downloaded(url: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        resolve(url)
    assert hint in caught.value.hint


def test_folders_tables_and_names_pass(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").mkdir()
    for data in (tmp_path, tmp_path / "photos.zip", tmp_path / "none.zip", "photos.csv", "dtd"):
        refuse_packed(str(data))
