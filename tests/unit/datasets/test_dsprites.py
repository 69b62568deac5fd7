"""dSprites from its factors, against measures of the published images, and its splits."""

from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from fewtune.data.decode import open_image
from fewtune.data.label_table import LabelTable
from fewtune.datasets import catalog
from fewtune.datasets.declaration import Subset
from fewtune.datasets.readers.regenerated import (
    COUNT,
    SIZES,
    Factors,
    RegeneratedDSprites,
    draw,
    factors,
    own_order,
)
from fewtune.datasets.vtab_labels import dsprites_location, dsprites_orientation

SQUARE, ELLIPSE, HEART = range(3)
LARGEST = 5


def image(shape: int, scale: int = LARGEST, turn: int = 0, x: int = 0, y: int = 0) -> NDArray:
    return draw(int(np.ravel_multi_index((shape, scale, turn, x, y), SIZES)))


def test_indices_are_those_of_the_original() -> None:
    assert factors(0) == (0, 0, 0, 0, 0)
    assert factors(1) == Factors(shape=0, scale=0, orientation=0, x=0, y=1)
    assert factors(COUNT - 1) == (2, 5, 39, 31, 31)
    for index in range(0, COUNT, 7919):
        assert np.ravel_multi_index(factors(index), SIZES) == index
    with pytest.raises(ValueError, match="out of bounds"):
        draw(COUNT)


# White pixels, first and last column, first and last row, of frames of the published animation.
PUBLISHED = {
    (SQUARE, 0, 0, 0, 0): (100, 11, 20, 11, 20),
    (SQUARE, 5, 1, 0, 0): (368, 5, 26, 5, 26),
    (SQUARE, 5, 17, 0, 0): (368, 4, 27, 4, 27),
    (ELLIPSE, 1, 0, 0, 0): (104, 8, 23, 12, 19),
    (ELLIPSE, 5, 6, 0, 0): (286, 7, 24, 5, 26),
    (HEART, 0, 0, 0, 0): (58, 11, 20, 11, 19),
    (HEART, 5, 0, 0, 0): (222, 6, 25, 7, 23),
    (HEART, 5, 5, 0, 0): (225, 5, 21, 5, 21),
    (HEART, 5, 34, 0, 0): (225, 10, 26, 5, 21),
    (HEART, 5, 0, 0, 19): (226, 6, 25, 26, 43),
    (HEART, 5, 0, 31, 31): (222, 38, 57, 39, 55),
}


@pytest.mark.parametrize("shown", PUBLISHED)
def test_images_measure_what_the_published_ones_do(shown: tuple[int, ...]) -> None:
    rows, columns = np.nonzero(image(*shown))
    found = (len(rows), columns.min(), columns.max(), rows.min(), rows.max())
    assert found == PUBLISHED[shown]


def test_no_sprite_touches_the_frame_and_pixels_are_binary() -> None:
    for shape in (SQUARE, ELLIPSE, HEART):
        for turn in range(40):
            for x, y in ((0, 0), (31, 31)):
                pixels = image(shape, LARGEST, turn, x, y)
                assert set(np.unique(pixels)) == {0, 1}
                assert not pixels[[0, -1]].any()
                assert not pixels[:, [0, -1]].any()


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE, HEART])
def test_the_centre_moves_linearly_with_the_position(shape: int) -> None:
    steps = np.arange(32) * 32 / 31
    columns = [np.nonzero(image(shape, x=x, y=9))[1].mean() for x in range(32)]
    rows = [np.nonzero(image(shape, x=4, y=y))[0].mean() for y in range(32)]
    assert np.abs(columns - columns[0] - steps).max() < 0.6
    assert np.abs(rows - rows[0] - steps).max() < 0.6


def test_symmetries() -> None:
    for turn in (0, 3, 17, 28):
        square, ellipse = image(SQUARE, turn=turn)[:32, :32], image(ELLIPSE, turn=turn)[:32, :32]
        assert (square == np.rot90(square)).all()
        assert (ellipse == np.rot90(ellipse, 2)).all()
        left, right = (image(HEART, turn=t)[:32, :32] for t in (turn, 39 - turn))
        assert (left == right[:, ::-1]).all()
    # 40 values from 0 to 2 pi, both included: the last looks like the first.
    assert (image(HEART, turn=0) == image(HEART, turn=39)).all()


def test_the_own_order_is_a_permutation_that_never_changes() -> None:
    order = own_order()
    assert order[:4].tolist() == [573548, 70273, 390831, 164256]
    assert (np.sort(order) == np.arange(COUNT)).all()


def read(factor: Literal["location", "orientation"], subset: Subset) -> LabelTable:
    reader = RegeneratedDSprites(factor)
    location = reader.find(Path("nowhere"))
    assert location is not None
    return reader.read(location, catalog.load(f"vtab/dsprites-{factor}"), subset)


def test_a_thousand_to_train_on_and_the_full_test_split() -> None:
    table = read("location", "1000")
    assert Counter(row.split for row in table.rows) == {"train": 1000, "test": 73_728}
    assert len({row.key for row in table.rows}) == 74_728
    for row in table.rows[::2000]:
        label = dsprites_location(factors(int(row.key)).x)
        assert row.class_name == table.classes[label]
    assert any("regenerated" in note for note in table.notes)
    decoded = open_image(table.rows[0].source)
    assert (decoded.mode, decoded.size) == ("RGB", (64, 64))
    assert (np.asarray(decoded)[..., 0] == 255 * draw(int(table.rows[0].key))).all()


def test_orientations_are_labelled_by_their_own_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewtune.datasets.readers.regenerated.TEST", 40)
    monkeypatch.setattr("fewtune.datasets.readers.regenerated.VAL", 500)
    monkeypatch.setattr("fewtune.datasets.readers.regenerated.POOL", 1500)
    table = read("orientation", "800")
    assert Counter(row.split for row in table.rows) == {"train": 800, "val": 200, "test": 40}
    for row in table.rows:
        label = dsprites_orientation(factors(int(row.key)).orientation)
        assert row.class_name == table.classes[label]
