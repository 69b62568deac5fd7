"""JSON files: sealed ones that were changed, and those that are made to harm, are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewtune.core import files
from fewtune.core.errors import ConfigError, DataError, RunError
from fewtune.core.files import read_json, write_json, write_sealed
from fewtune.core.toml import read_toml
from fewtune.data.layouts.split_file import read_split_json

VALUE = {"b": [1, 0.1, None, {"é": "x"}], "a": {"2": 1, "10": True}}


def test_every_changed_bit_of_a_sealed_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_sealed(path, VALUE)
    assert read_json(path) == VALUE
    content = path.read_bytes()
    for at in range(len(content) * 8):
        changed = bytearray(content)
        changed[at // 8] ^= 1 << at % 8
        path.write_bytes(changed)
        try:
            found = read_json(path)
        except RunError:
            continue
        assert {
            k: v for k, v in found.items() if k in VALUE
        } == VALUE  # white space, the seal's name


def test_a_file_without_a_seal_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "record.json", VALUE)
    assert read_json(tmp_path / "record.json") == VALUE


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "9" * 5000])
def test_deep_and_endless_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(RunError, match="not a readable JSON"):
        read_json(path)
    with pytest.raises(DataError, match="not valid JSON"):
        read_split_json(path)


def test_huge_json_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "record.json").write_text(json.dumps(VALUE))
    monkeypatch.setattr(files, "MOST_JSON_BYTES", 20)
    with pytest.raises(RunError, match="more than 0 MiB"):
        read_json(tmp_path / "record.json")


def test_deep_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(tmp_path / "sweep.toml")
