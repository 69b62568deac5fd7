"""What tests of analyses share."""

from __future__ import annotations

from collections.abc import Callable

from fewtune.analysis.replay import Opened

Tuned = Callable[..., Opened]
SHOTS = 2
