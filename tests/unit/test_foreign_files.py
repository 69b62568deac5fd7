"""Foreign files: what fuzzing found stays refused, and nothing in a file is executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from fewtune.backbones.weight_files import read_weights
from fewtune.core.errors import AdapterError
from parsers import CORPUS, PARSERS, parse


@pytest.mark.parametrize("name", PARSERS)
def test_what_fuzzing_found_is_read_or_refused(name: str, tmp_path: Path) -> None:
    files = sorted((CORPUS / name).iterdir())
    assert files
    for file in files:
        folder = tmp_path / file.name
        (folder / "in").mkdir(parents=True)
        parse(name, file.read_bytes(), folder / "in")


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    for number, write in enumerate((torch.save, lambda v, p: p.write_bytes(pickle.dumps(v)))):
        path = tmp_path / f"weights{number}.pt"
        write({"a": Harmful(tmp_path / "owned")}, path)
        with pytest.raises(AdapterError):
            read_weights([path])
    assert not (tmp_path / "owned").exists()
