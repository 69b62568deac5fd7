"""Memory probes: bytes of the tensors alive in a computation, and what the process holds.

Tensors are counted where they are made, so the count is exact, the same on every device, and known
from a computation that is far too small to be seen in the size of the process.
"""

import contextlib
import ctypes
import resource
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

MIB = 1 << 20
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_KEEP_BYTES = 1 << 30


def used_mib(device: torch.device) -> float:
    """Return the MiB that this process holds now: allocated on a GPU, resident elsewhere."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / MIB
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # no Linux; the peak is at least what is held now
        return peak_mib(device)
    return pages * resource.getpagesize() / MIB


def peak_mib(device: torch.device) -> float:
    """Return the most MiB that this process has held: allocated on a GPU, resident elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    try:
        # getrusage would begin with the figure of the process that started this one.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def keep_freed_memory() -> None:
    """Let the C library keep freed memory instead of asking the kernel for it in every step.

    Pages that come back are filled with zeros one by one, which takes time; and with thresholds
    that do not move, large tensors leave fewer gaps. Other C libraries than glibc do without.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_MMAP_THRESHOLD, _KEEP_BYTES)
        library.mallopt(_TRIM_THRESHOLD, _KEEP_BYTES)


def release_freed_memory() -> None:
    """Give freed memory back to the system."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are created within this context.

    Attributes:
        now: Bytes alive now.
        peak: Most bytes alive at the same time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._alive: set[int] = set()
        self._makes: dict[Any, bool] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and count what it makes: not views, nor what it writes in place."""
        made = func(*args, **(kwargs or {}))
        if func not in self._makes:
            self._makes[func] = all(r.alias_info is None for r in func._schema.returns)
        if self._makes[func]:
            for tensor in made if isinstance(made, tuple | list) else (made,):
                if isinstance(tensor, Tensor):
                    self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if id(storage) in self._alive:
            return
        self._alive.add(id(storage))
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, id(storage), storage.nbytes())

    def _forget(self, key: int, size_bytes: int) -> None:
        self._alive.discard(key)
        self.now -= size_bytes


@dataclass(frozen=True)
class Need:
    """Memory as a straight line in the number of rows that are worked on at a time."""

    fixed_mib: float = 0.0
    slope_mib: float = 0.0

    def mib(self, rows: int) -> float:
        """Return the MiB that a number of rows takes."""
        return self.fixed_mib + self.slope_mib * rows


def measure(work: Callable[[int], object]) -> Need:
    """Return what `work(rows)` takes, from one row and two."""
    peaks = []
    for rows in (1, 2):
        with LiveBytes() as live:
            work(rows)
        peaks.append(live.peak / MIB)
    slope = max(0.0, peaks[1] - peaks[0])
    return Need(peaks[0] - slope, slope)
