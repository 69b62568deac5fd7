"""VTAB's labels at the values where two classes meet."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import pytest

from fewtune.core.errors import DataError
from fewtune.datasets import vtab_labels
from fewtune.datasets.readers import tfds


def test_counts_and_distances_of_clevr() -> None:
    assert [vtab_labels.clevr_count(n) for n in range(3, 11)] == list(range(8))
    distances = (0.5, 8.0, 8.0001, 8.5, 8.51, 9.0, 9.1, 9.5, 9.6, 10.0, 10.001, 100.0)
    assert [vtab_labels.clevr_distance([d, 99.0]) for d in distances] == [
        *(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5)
    ]


def test_only_cars_vans_and_trucks_count_on_kitti() -> None:
    for z, label in ((-3.0, 0), (8.0, 0), (8.01, 1), (20.0, 1), (20.01, 2), (999.0, 2)):
        assert vtab_labels.kitti_distance([("Truck", z), ("Van", 500.0)]) == min(label, 2)
    assert vtab_labels.kitti_distance([]) == 3
    others = ("Tram", "Pedestrian", "Cyclist", "Misc", "Person_sitting", "DontCare")
    assert vtab_labels.kitti_distance([(kind, 2.0) for kind in others]) == 3
    assert vtab_labels.kitti_distance([("Car", 9.0), ("Tram", 2.0)]) == 1


def test_bins_of_dsprites() -> None:
    bins = [list(g) for _, g in groupby(range(40), vtab_labels.dsprites_orientation)]
    assert [len(of_bin) for of_bin in bins] == [3, 2] * 8
    assert bins[:4] == [[0, 1, 2], [3, 4], [5, 6, 7], [8, 9]]
    assert vtab_labels.dsprites_orientation(39) == 15
    assert [vtab_labels.dsprites_location(x) for x in (0, 1, 2, 30, 31)] == [0, 0, 1, 15, 15]


def test_angles_of_smallnorb_and_grades() -> None:
    assert [vtab_labels.smallnorb_azimuth(a) for a in range(0, 36, 2)] == list(range(18))
    assert [vtab_labels.smallnorb_elevation(e) for e in (0, 8)] == [0, 8]
    assert [vtab_labels.retinopathy_grade(g) for g in range(5)] == list(range(5))


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (vtab_labels.clevr_count, 2),
        (vtab_labels.clevr_count, 11),
        (vtab_labels.clevr_distance, []),
        (vtab_labels.clevr_distance, [0.0]),
        (vtab_labels.clevr_distance, [100.5]),
        (vtab_labels.clevr_distance, [float("nan")]),
        (vtab_labels.kitti_distance, [("Car", float("nan"))]),
        (vtab_labels.dsprites_orientation, 40),
        (vtab_labels.dsprites_location, -1),
        (vtab_labels.smallnorb_azimuth, 3),
        (vtab_labels.smallnorb_azimuth, 36),
        (vtab_labels.smallnorb_elevation, 9),
        (vtab_labels.retinopathy_grade, 5),
        (tfds.Stored(), {"label": [1.0]}),
        (tfds.Stored(), {}),
        (tfds.clevr_distance, {"objects/pixel_coords": [1.0, 2.0]}),
        (tfds.kitti_distance, {"objects/type": [0], "objects/location": []}),
    ],
)
def test_annotations_out_of_range_are_refused(rule: Callable[..., int], value: object) -> None:
    with pytest.raises(DataError, match=r"expected|no number|no single|no triples|1 types for 0"):
        rule(value)
