"""Data listeners: callbacks for what is found about images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fewtune.core.task import Task
from fewtune.data.findings import DataReport

Progress = Callable[[int, int], None]


class DataListener:
    """Callbacks for what is found about images; by default they do nothing."""

    @contextmanager
    def checking(self, images: int) -> Iterator[Progress | None]:
        """Images are being decoded; yields a callback for (done, total), or None."""
        yield None

    def opened(self, task: Task) -> None:
        """A task was read; no image has been opened."""

    def checked(self, report: DataReport) -> None:
        """Every image has been decoded."""

    def usable(self, task: Task) -> None:
        """Unusable images were left out; these are the images and prompts of the runs."""

    def note(self, text: str) -> None:
        """The task was changed."""

    def warn(self, text: str) -> None:
        """Something is probably a mistake."""
