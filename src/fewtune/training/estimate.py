"""Estimate of a phase before its first step: seconds and memory, from probe steps."""

import math
import time

from fewtune.training.loop import Training
from fewtune.training.memory.memory_probe import peak_mib
from fewtune.training.tracking import Estimate


def estimate_cost(training: Training, probes: int = 2) -> Estimate:
    """Time probe steps that change nothing, of which the fastest counts, and the first view.

    Views that are cached later, on the way, take as long as the first one.
    """
    seconds = []
    for _ in range(probes if training.total else 0):
        started = time.perf_counter()
        training.gradients(0)
        training.optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    memory = peak_mib(training.model.device)
    coming_s = training.features.coming_s(math.ceil(training.total / training.per_epoch))
    steps_s = min(seconds, default=0.0) * training.total
    return Estimate(training.total, steps_s + coming_s, memory)
