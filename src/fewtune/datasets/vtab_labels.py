"""Labels of VTAB, derived from the annotations: one pure function per rule.

Rules and thresholds are those of the benchmark's code (google-research/task_adaptation,
task_adaptation/data/{clevr,kitti,dsprites,smallnorb}.py). A value equal to a threshold belongs to
the lower class.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

from fewtune.core.errors import DataError

CLEVR_FEWEST, CLEVR_MOST = 3, 10
CLEVR_DISTANCES = (8.0, 8.5, 9.0, 9.5, 10.0)
CLEVR_FARTHEST = 100.0
KITTI_DISTANCES_M = (8.0, 20.0, 999.0)
KITTI_NO_VEHICLE_M = 1000.0
KITTI_VEHICLES = ("Car", "Van", "Truck")
# In the order of TFDS, whose files store numbers instead of names.
KITTI_TYPES = (*KITTI_VEHICLES, "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")


def clevr_count(objects: int) -> int:
    """Return the label of a scene by its number of objects: 3 to 10 become 0 to 7."""
    return _within(objects, CLEVR_FEWEST, CLEVR_MOST, "objects in a CLEVR scene") - CLEVR_FEWEST


def clevr_count_of(depths: Sequence[float]) -> int:
    """Return the label of a scene by the distances of its objects."""
    return clevr_count(len(depths))


def clevr_distance(depths: Sequence[float]) -> int:
    """Return the label of the closest object, 0 (at most 8) to 5 (above 10).

    Args:
        depths: Third pixel coordinate of each object of the scene, in (0, 100].

    Raises:
        DataError: There is no object, or a distance is out of range.
    """
    nearest = min(depths, default=math.nan)
    if not 0 < nearest <= CLEVR_FARTHEST:
        raise DataError(
            f"The closest object of a CLEVR scene is {nearest} away, expected above 0 and at most "
            f"{CLEVR_FARTHEST:g}."
        )
    return bisect_left(CLEVR_DISTANCES, nearest)


def kitti_distance(objects: Sequence[tuple[str, float]]) -> int:
    """Return the label of the closest vehicle: 0 to 8 m, 1 to 20 m, 2 beyond, 3 without vehicle.

    Args:
        objects: Type and z in metres (camera coordinates) of each object; cars, vans and trucks
            are vehicles, trams are not.

    Raises:
        DataError: The distance of a vehicle is no number.
    """
    vehicles = [z for kind, z in objects if kind in KITTI_VEHICLES]
    if any(math.isnan(z) for z in vehicles):
        raise DataError("A vehicle of KITTI has a distance that is no number.")
    return bisect_left(KITTI_DISTANCES_M, min([*vehicles, KITTI_NO_VEHICLE_M]))


def dsprites_location(position: int) -> int:
    """Return the label of the x position 0 to 31, two per class."""
    return _within(position, 0, 31, "x position of dSprites") // 2


def dsprites_orientation(orientation: int) -> int:
    """Return the label of the orientation 0 to 39, 3 and 2 per class in turn."""
    return int(_within(orientation, 0, 39, "orientation of dSprites") / 2.5)


def smallnorb_azimuth(stored: int) -> int:
    """Return the label of the azimuth, which is stored as 0, 2, .., 34 for 0, 20, .., 340 degrees.

    Raises:
        DataError: It is odd or out of range.
    """
    if stored % 2:
        raise DataError(f"An azimuth of smallNORB is stored as {stored}, expected an even number.")
    return _within(stored, 0, 34, "azimuth of smallNORB") // 2


def smallnorb_elevation(stored: int) -> int:
    """Return the label of the elevation, which is stored as 0 to 8 for 30, 35, .., 70 degrees."""
    return _within(stored, 0, 8, "elevation of smallNORB")


# By factor: its place among the stored ones, and the rule.
DSPRITES = {"location": (3, dsprites_location), "orientation": (2, dsprites_orientation)}
SMALLNORB = {"azimuth": (2, smallnorb_azimuth), "elevation": (1, smallnorb_elevation)}


def retinopathy_grade(level: int) -> int:
    """Return the grade: 0 none, 1 mild, 2 moderate, 3 severe, 4 proliferative."""
    return _within(level, 0, 4, "grade of retinopathy")


def _within(value: int, lowest: int, highest: int, what: str) -> int:
    if not lowest <= value <= highest:
        raise DataError(f"Found {value} as {what}, expected {lowest} to {highest}.")
    return value
