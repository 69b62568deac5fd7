"""MATLAB files of version 5, as SciPy writes them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from fewtune.core.errors import DataError
from fewtune.datasets.array_files import read_integers

ARRAYS: dict[str, Any] = {
    "text": "labels",
    "labels": np.arange(7, dtype=np.uint16)[None],
    "X": np.arange(2 * 3 * 4 * 50, dtype=np.uint8).reshape(2, 3, 4, 50),
    "floats": np.array([[1.0, 10.0], [-2.0, 3.0]]),
    "halves": np.array([0.5, np.inf]),
    "one": np.array([[3]], np.int64),
    "structure": {"labels": 1},
}


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_those_that_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    path = tmp_path / "a.mat"
    savemat(path, ARRAYS, do_compression=compressed)
    for name in ("labels", "X", "floats", "one"):
        assert np.array_equal(read_integers(path, name), ARRAYS[name])
    for name, why in (("text", "no numbers"), ("halves", "not whole"), ("none", "no such array")):
        with pytest.raises(DataError, match=rf"Cannot read '{name}' in .*{why}"):
            read_integers(path, name)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "scipy.io", None)
        with pytest.raises(DataError, match=r"'scipy' is needed .*fewtune\[originals\]"):
            read_integers(path, "labels")
    data = path.read_bytes()
    for damaged in (data[:-40], data[:60], b"MATLAB 7.3" + data[10:], data[:300] + data[310:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"Cannot read|is no MATLAB file"):
            read_integers(path, "structure")
