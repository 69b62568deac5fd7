"""Test image guard: test images cannot be read from the start of a run to its evaluation.

Training gets no test images. The guard catches code that reads them anyway, from their files or
from the cache, by mistake or to cheat. Everything that returns pixels asks here first. Images are
identified by location: other spellings of a path, or links to its folder, are the same image. The
guard works in all threads of the process, but not for code that opens files without FewTune.
"""

import dataclasses
import functools
import os
from collections.abc import Hashable, Iterable, Iterator, Set
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError
from fewtune.core.naming import counted
from fewtune.core.task import Example
from fewtune.data.label_table import plain

Examples = tuple[Example, ...]


@dataclasses.dataclass(eq=False)
class _Guard:
    """Locations that must not be read, and what the run is doing."""

    places: Set[Hashable]
    activity: str = "training"


_active: list[_Guard] = []


@contextmanager
def guarded(test: Examples, support: Iterable[Example] = ()) -> Iterator[None]:
    """Refuse to read test images within the context.

    Args:
        support: Training and validation images.

    Raises:
        DataError: An image is in both.
    """
    guard = _Guard(_places_of(test))
    both = [example for example in support if test and place(example.source) in guard.places]
    if both:
        raise DataError(
            f"Training and validation hold {counted(len(both), 'test image')}, for example "
            f"{plain(both[0].key)}.",
            hint="Take them out of one of the splits.",
        )
    _active.append(guard)
    try:
        yield
    finally:
        _active.remove(guard)


@contextmanager
def allowed() -> Iterator[None]:
    """Allow test images to be read within the context, for evaluation."""
    kept, _active[:] = list(_active), []
    try:
        yield
    finally:
        _active[:] = kept


def enter(name: str) -> None:
    """Set what the run is doing, for the error message."""
    if _active:
        _active[-1].activity = name


def activity(source: Any) -> str:
    """Return what the run is doing if `source` is a guarded test image, else ""."""
    if not _active:
        return ""
    where = place(source)
    return next((guard.activity for guard in reversed(_active) if where in guard.places), "")


def place(source: Any) -> Hashable:
    """Return a key that is equal for all sources of one stored image, however it is decoded."""
    if isinstance(source, str | Path):
        folder, name = os.path.split(source)
        return _real(folder, "" if os.path.isabs(folder) else os.getcwd()), name
    inner = getattr(source, "slice", source)
    if not dataclasses.is_dataclass(inner):
        return id(inner)
    kind: Any = type(inner)
    values = [getattr(inner, name) for name in _fields(kind)]
    if len(values) == 1 and not _plain(values[0]):  # in memory
        return place(values[0])
    return kind.__name__, *(v if _plain(v) else place(v) for v in values)


@functools.cache
def _fields(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _plain(value: Any) -> bool:
    return isinstance(value, str | Integral)


@functools.lru_cache(maxsize=4096)
def _real(folder: str, base: str) -> str:
    """Return a folder's path without links; `base` is the working folder of a relative path."""
    return os.path.realpath(os.path.join(base, folder))


class _Last:
    """The places of the last test split: the runs of a sweep share their test images."""

    examples: Examples = ()
    places: Set[Hashable] = frozenset()


def _places_of(examples: Examples) -> Set[Hashable]:
    if _Last.examples is not examples:
        _Last.places = frozenset(place(example.source) for example in examples)
        _Last.examples = examples
    return _Last.places
