"""Percentages as text: shares in [0, 1], their differences and their spread over seeds."""

import math
from collections.abc import Mapping

from fewtune.core.naming import counted

HOLE = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage: 0.8437 is "84.4"; None is a hole."""
    return HOLE if share is None else f"{100 * share:.{digits}f}"


def signed(difference: float | None, digits: int = 1) -> str:
    """Return a difference of shares in points with its sign: "+12.3", "−4.0"; None is a hole."""
    if difference is None:
        return HOLE
    text = f"{100 * difference:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def with_spread(mean: str, spread: float | None) -> str:
    """Return "70.0 ± 1.4": a mean, and its standard deviation over seeds where there is one."""
    return mean if spread is None else f"{mean} ± {percent(spread)}"


def telling(metrics: Mapping[str, float | None], classes: int) -> dict[str, float | None]:
    """Return metrics without top-5 where it is 100 % by construction: of at most five classes."""
    return {k: None if k == "top5" and classes <= 5 else v for k, v in metrics.items()}


def interval(share: float, images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval, in [0, 1], of a share of `images` (Wilson, 1927)."""
    z2 = 1.959964**2
    centre = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = math.sqrt(z2 * (share * (1 - share) / images + z2 / (4 * images**2))) / (1 + z2 / images)
    return max(0.0, centre - half), min(1.0, centre + half)


def interval_text(share: float | None, images: int) -> str:
    """Return the 95 % interval of a share in percent: "51.0 to 100.0"; a hole where it is None."""
    return HOLE if share is None else " to ".join(map(percent, interval(share, images)))


def widest_interval(sizes: Mapping[str, int]) -> str:
    """Return how far a top-1 may be off on the task with the fewest test images, as a sentence."""
    task = min(sizes, key=sizes.__getitem__)
    half = interval(0.5, sizes[task])[1] - 0.5
    number = counted(sizes[task], "test image")
    return f"95 % interval of a top-1: up to ± {percent(half)} points ({task}, {number})."


def significant(share: float) -> str:
    """Return a share as a percentage with two significant digits: 0.00123 is "0.12"."""
    return f"{100 * share:.2g}"
