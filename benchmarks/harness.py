"""Contenders that take turns, each in a process of its own, and what is kept of them."""

from __future__ import annotations

import importlib
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

Step = Callable[[], object]
ALONE_S = 600.0  # a child that says nothing for this long has died without an error


@dataclass(frozen=True)
class Settings:
    """How the tables are measured.

    Attributes:
        quick: Tiny sizes in this process: shows that everything runs, measures nothing.
        precision: "bf16" (autocast) or "fp32".
        threads: CPU threads of every contender.
        repeats: Measured turns of each contender, after `warmup` turns that are thrown away.
    """

    quick: bool = False
    precision: str = "fp32"
    threads: int = 1
    repeats: int = 5
    warmup: int = 1


@dataclass(frozen=True)
class Contender:
    """Something that can be timed.

    Attributes:
        name: As it stands in tables.
        builder: "module:function"; the function returns the step to be timed.
        arguments: Of the function.
    """

    name: str
    builder: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def load(self) -> Callable[..., Step]:
        """Import what the contender needs and return its builder."""
        module, _, function = self.builder.partition(":")
        builder: Callable[..., Step] = getattr(importlib.import_module(module), function)
        return builder


@dataclass(frozen=True)
class Measurement:
    """What one contender took.

    Attributes:
        seconds: Of each measured turn.
        memory_mib: Largest resident size of its process less that after imports; 0 if unknown.
        first_s: Of the very first turn.
    """

    seconds: tuple[float, ...]
    memory_mib: float = 0.0
    first_s: float = 0.0

    @property
    def median_s(self) -> float:
        """Median of the turns."""
        return statistics.median(self.seconds)


def race(
    contenders: Sequence[Contender], settings: Settings, limit_mib: int | None = None
) -> list[Measurement]:
    """Let contenders take turns (A, B, A, B, ...) and return a measurement for each.

    Args:
        limit_mib: Memory that each process may reserve for data.

    Raises:
        MemoryError: A contender did not fit.
    """
    turns = settings.warmup + settings.repeats
    runners: list[_Runner] = []
    try:
        for contender in contenders:
            runners.append(
                _Here(contender) if settings.quick else _Child(contender, settings, limit_mib)
            )
        seconds = [[runner.turn() for runner in runners] for _ in range(turns)]
        kept = zip(*seconds[settings.warmup :], strict=True)
        return [
            Measurement(tuple(row), runner.memory_mib(), first)
            for runner, row, first in zip(runners, kept, seconds[0], strict=True)
        ]
    finally:
        for runner in runners:
            runner.close()


class _Runner(Protocol):
    def turn(self) -> float: ...

    def memory_mib(self) -> float: ...

    def close(self) -> None: ...


class _Here:
    """A contender in this process; its memory is unknown."""

    def __init__(self, contender: Contender) -> None:
        self.step = contender.load()(**contender.arguments)

    def turn(self) -> float:
        return _time(self.step)

    def memory_mib(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


class _Child:
    """A contender in a process of its own, which takes a turn when it is told to."""

    def __init__(self, contender: Contender, settings: Settings, limit_mib: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (contender, settings.threads, limit_mib, theirs)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        self.name = contender.name
        try:
            self._hear()
        except Exception:
            self.close()
            raise

    def turn(self) -> float:
        self.connection.send("turn")
        return self._hear()

    def memory_mib(self) -> float:
        self.connection.send("memory")
        return self._hear()

    def close(self) -> None:
        self.process.kill()
        self.process.join()

    def _hear(self) -> float:
        if not self.connection.poll(ALONE_S):
            raise RuntimeError(f"{self.name} is silent.")
        kind, value = self.connection.recv()
        if kind == "memory error":
            raise MemoryError(f"{self.name}: {value}")
        if kind == "error":
            raise RuntimeError(f"{self.name}: {value}")
        return float(value)


def _serve(
    contender: Contender, threads: int, limit_mib: int | None, connection: Connection
) -> None:
    """Build a contender and take turns until the parent ends this process."""
    try:
        import torch

        torch.set_num_threads(threads)
        build = contender.load()
        imported = _peak_kib()
        if limit_mib:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_mib << 20, limit_mib << 20))
        step = build(**contender.arguments)
        connection.send(("ready", 0.0))
        while True:
            asked = connection.recv()
            value = _time(step) if asked == "turn" else (_peak_kib() - imported) / 1024
            connection.send((asked, value))
    except Exception as error:
        short = isinstance(error, MemoryError) or "allocate memory" in str(error)
        connection.send(("memory error" if short else "error", repr(error)))


def _time(step: Step) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def _peak_kib() -> int:
    """Return the largest resident size of this process.

    `getrusage` would count the parent's as well: on Linux a spawned process inherits that figure.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
