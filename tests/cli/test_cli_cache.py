"""What runs share on disk, listed and removed."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Cli, short
from safetensors.numpy import save_file

from fewtune.training import disk_cache
from fewtune.training.disk_cache import DiskCache


def test_list_and_prune(
    cli: Cli, images: Path, backbone: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewtune.training.run.DiskCache", functools.partial(DiskCache, least_s=0))
    monkeypatch.setattr(disk_cache, "READING_BYTES_PER_S", float("inf"))
    flags = short(images, backbone)
    assert cli("cache list --cache kept").out == "kept: 0 entries, 0.0 MiB\n"
    fitted = cli("fit linear-probe --quiet --views 1 --cache kept", *flags)
    assert fitted.status == 0, fitted.err
    out = cli("cache list --cache kept").out
    assert "2 entries" in out
    assert "features, view 0 of" in out
    found = json.loads(cli("cache list --json --cache kept").out)
    assert [entry["about"]["images"] for entry in found["entries"]] == [3, 9]  # by use
    (Path(found["entries"][0]["folder"]) / disk_cache.FILE).write_bytes(b"torn")
    assert "(damaged)" in cli("cache list --cache kept").out
    assert cli("cache prune --cache kept --older-than 1").out.startswith("removed 0 entries")
    assert cli("cache prune --cache kept --all").out.startswith("removed 2 entries")
    assert not list((place / "kept").iterdir())
    assert json.loads(cli("cache prune --cache kept --all --json").out)["removed"] == []
    assert cli("fit zero-shot --quiet --runs bare --no-cache --cache kept", *flags[:4]).status == 0
    assert not list((place / "kept").iterdir())


def test_foreign_files_are_neither_counted_nor_removed(cli: Cli, place: Path) -> None:
    kept = place / "kept"
    name = "0123456789abcdef" * 2
    files = [
        f"photos/{disk_cache.FILE}",  # another name than an entry has
        f"{name}/{disk_cache.FILE}",  # an entry's name, but a file of another program
        f"{name[::-1]}/.lock",  # an entry that was not finished, with another file in it
        f"{name[::-1]}/notes.txt",
        f"{name[1:]}0/1.png",
        "photos/deep/1.png",
        "notes.txt",
    ]
    for file in files:
        (kept / file).parent.mkdir(parents=True, exist_ok=True)
        (kept / file).write_text("precious")
    save_file({"x": np.zeros(3)}, kept / name / disk_cache.FILE)
    abandoned = kept / ("f" * 32)
    abandoned.mkdir()
    for left in (".lock", f".{disk_cache.FILE}.17.tmp"):
        (abandoned / left).write_text("")
    (kept / ("e" * 32)).symlink_to(kept / name)
    for path in (kept, *kept.rglob("*")):
        os.utime(path, (0, 0))
    assert cli("cache list --cache kept").out == "kept: 0 entries, 0.0 MiB\n"
    for flags in ("--all", "--older-than 0"):
        assert cli(f"cache prune --cache kept {flags}").out.startswith("removed 0 entries")
    assert all((kept / file).exists() for file in files)
    assert (kept / ("e" * 32)).is_symlink()
    assert not abandoned.exists()


def test_an_entry_with_another_file_in_it_is_kept(
    cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_cache, "READING_BYTES_PER_S", float("inf"))
    store = DiskCache(place / "kept", pytest.fail, least_s=0)
    store.get({"stage": "end"}, lambda: torch.zeros(3))
    (entry,) = disk_cache.entries(place / "kept")
    (entry.folder / "notes.txt").write_text("precious")
    assert cli("cache prune --cache kept --all").out.startswith("removed 0 entries")
    (entry.folder / "notes.txt").unlink()
    assert cli("cache prune --cache kept --all").out.startswith("removed 1 entry")
    assert not list((place / "kept").iterdir())


def test_prune_wants_to_be_told_what(cli: Cli) -> None:
    for flags in ("", " --all --older-than 3"):
        outcome = cli(f"cache prune{flags}")
        assert outcome.status == 2
        assert "Type --older-than DAYS, or --all." in outcome.err
    assert "Did you mean 'prune'?" in cli("cache prun").err
