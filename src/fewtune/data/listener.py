"""Listener of a data report: who is told what is found about images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fewtune.core.task import Task
from fewtune.data.findings import DataReport

Progress = Callable[[int, int], None]


class DataListener:
    """Who is told what is found about images; every method may be left out."""

    @contextmanager
    def checking(self, images: int) -> Iterator[Progress | None]:
        """Images are being decoded; yields what is told (done, total), or None."""
        yield None

    def opened(self, task: Task) -> None:
        """A task was read; no image has been opened."""

    def checked(self, report: DataReport) -> None:
        """Every image has been decoded."""

    def usable(self, task: Task) -> None:
        """What cannot be used was left out; these are the images and prompts of the runs."""

    def note(self, text: str) -> None:
        """Something was done to the task."""

    def warn(self, text: str) -> None:
        """Something is probably not meant."""
