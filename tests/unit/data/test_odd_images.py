"""Odd and malformed files are read or refused by name, quietly; a twentieth of all, and bombs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.core.errors import DataError
from fewtune.data.decode import open_image
from odd_images import judge, odd_files, png


def test_odd_files_are_read_or_refused(tmp_path: Path) -> None:
    found = judge(odd_files(seed=1, every=20), tmp_path)
    assert not found.faults
    outcomes = [outcome for _, outcome in found.outcomes.elements()]
    assert len(outcomes) > 250
    assert 40 < outcomes.count("read") < len(outcomes) - 100


@pytest.mark.parametrize("data", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xc5\xd0\xd3\xc6"])
def test_a_postscript_program_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("Ghostscript"))
    (tmp_path / "photo.jpg").write_bytes(data + b"%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(DataError, match="an EPS drawing"):
        open_image(tmp_path / "photo.jpg")


def test_16_bits_of_many_pixels_take_no_more_than_the_image(tmp_path: Path) -> None:
    import tracemalloc

    (tmp_path / "large.png").write_bytes(png(3000, 2000, 16, whole=True))
    tracemalloc.start()
    open_image(tmp_path / "large.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 3000 * 2000
