"""Percentages as text: shares in [0, 1], their differences and their spread over seeds."""

from __future__ import annotations


def percent(share: float, digits: int = 1) -> str:
    """Return a share as a percentage: 0.8437 is "84.4"."""
    return f"{100 * share:.{digits}f}"


def signed(difference: float, digits: int = 1) -> str:
    """Return a difference of shares in percentage points, with its sign: "+12.3" or "−4.0"."""
    text = f"{100 * difference:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def with_spread(mean: str, spread: float | None) -> str:
    """Return "70.0 ± 1.4": a mean, and its standard deviation over seeds where there is one."""
    return mean if spread is None else f"{mean} ± {percent(spread)}"


def significant(share: float) -> str:
    """Return a share as a percentage with two significant digits: 0.00123 is "0.12"."""
    return f"{100 * share:.2g}"
