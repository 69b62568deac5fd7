"""Which device and precision a run uses, and how much memory it took."""

from __future__ import annotations

import contextlib
import resource
import sys

import torch

from fewtune.core.errors import ConfigError
from fewtune.core.spec import Precision


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" prefers CUDA, then Apple's MPS, then the CPU.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"There is no device {name!r} here.", hint="Use --device auto or --device cpu."
        ) from error
    return device


def choose_precision(device: torch.device) -> Precision:
    """Return bf16 where the hardware multiplies it, else fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    has = torch.cpu.get_capabilities()
    return "bf16" if has.get("amx_bf16") or has.get("avx512_bf16") else "fp32"


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """Return the context in which forward passes run."""
    if precision == "fp32":
        return contextlib.nullcontext()
    context: contextlib.AbstractContextManager[None] = torch.autocast(device.type, torch.bfloat16)
    return context


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak so far: allocated on a GPU, resident on a CPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
