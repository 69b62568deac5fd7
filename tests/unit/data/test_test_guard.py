"""Test images under seal: one image however it is spelled, and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewtune.core.errors import DataError, RunError
from fewtune.core.task import Example
from fewtune.data import test_guard
from fewtune.data.decode import InMemory, open_image
from fewtune.data.image_facts import inspect_image
from fewtune.data.packed_images import BitSlice, FileSlice, GreySlice
from fewtune.datasets.readers.regenerated import Sprite
from fixtures import write_image

PIXELS = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two images and a link to it, beside the working folder."""
    for name in ("seen", "kept"):
        write_image(tmp_path / "images" / f"{name}.png", name)
    (tmp_path / "link").symlink_to(tmp_path / "images")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


SPELLINGS: dict[str, Callable[[Path], tuple[Any, Any, Any]]] = {
    # What is sealed, another way to the same image, another image.
    "path": lambda p: (p / "images/kept.png", "../images/../images/kept.png", "../images/seen.png"),
    "link": lambda p: (Path("../images/kept.png"), p / "link/kept.png", p / "link/seen.png"),
    "memory": lambda p: (InMemory(PIXELS), PIXELS, PIXELS.copy()),
    "computed": lambda p: (Sprite(3), Sprite(3), Sprite(4)),
    "slice": lambda p: (
        GreySlice(FileSlice(p / "images/kept.png", 8, 16), 4, 4),
        BitSlice(FileSlice(Path("../images/kept.png"), 8, 16), 8, 16),
        GreySlice(FileSlice(p / "images/kept.png", 0, 16), 4, 4),
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_an_image_is_known_by_its_place(place: Path, name: str) -> None:
    sealed, same, other = SPELLINGS[name](place)
    with test_guard.guarded((Example("a", 0, sealed),)):
        test_guard.enter("training")
        for reading in (open_image, inspect_image):
            with pytest.raises(RunError, match=r"^Test image .* was read while training"):
                reading(same)
        assert open_image(other)
    assert open_image(same)


def test_a_seal_is_lifted_after_an_error_and_lists_must_be_disjoint(place: Path) -> None:
    test = (Example("test/kept.png", 0, place / "images/kept.png"),)
    with pytest.raises(ZeroDivisionError), test_guard.guarded(test), test_guard.guarded(test):
        1 / 0
    assert open_image(test[0].source)
    train = (Example("train/kept.png", 0, Path("../link/kept.png")),)
    with (
        pytest.raises(DataError, match=r"hold 1 test image, for example train/kept\.png"),
        test_guard.guarded(test, train),
    ):
        pass
    assert open_image(test[0].source)
