"""The rate of this machine at a matrix product of CLIP's size."""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.harness import Settings

ROWS, INNER, COLUMNS = 4096, 768, 3072
TURNS = 15


def matrix_rate(settings: Settings) -> float:
    """Return the median rate in operations per second, with the threads and precision asked for."""
    side = 64 if settings.quick else ROWS
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    a, b = torch.randn(side, INNER).to(dtype), torch.randn(INNER, COLUMNS).to(dtype)
    seconds = []
    for _ in range(TURNS):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    torch.set_num_threads(before)
    return 2 * side * INNER * COLUMNS / statistics.median(seconds)
