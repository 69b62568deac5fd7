"""One process at a time in a run's folder."""

from fewtune.core.lock import locked

__all__ = ["locked"]
