"""What runs share on disk, listed and removed."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from commands import Cli, short

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
    assert "features, view 0 of seed 0" in out
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


def test_prune_wants_to_be_told_what(cli: Cli) -> None:
    for flags in ("", " --all --older-than 3"):
        outcome = cli(f"cache prune{flags}")
        assert outcome.status == 2
        assert "Type --older-than DAYS, or --all." in outcome.err
    assert "Did you mean 'prune'?" in cli("cache prun").err
