"""Device and precision of a run, copies to a GPU, and free memory."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from fewtune.core.errors import ConfigError
from fewtune.core.run_config import AskedPrecision
from fewtune.core.spec import Precision


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" prefers CUDA, then Apple's MPS, then the CPU.

    Raises:
        ConfigError: This machine has no such device.
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


def choose_precision(device: torch.device, asked: AskedPrecision = "auto") -> Precision:
    """Return the precision that is asked for; for "auto" bf16 where the hardware has it."""
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    has = torch.cpu.get_capabilities()
    return "bf16" if has.get("amx_bf16") or has.get("avx512_bf16") else "fp32"


PROCESS = os.getpid()  # a fork of it has another number
_CHANGED: dict[int, int] = {}  # threads that a run set: those before


def chosen_threads() -> int:
    """Return the CPU threads that torch or its user chose, whatever an earlier run has set."""
    threads = torch.get_num_threads()
    return _CHANGED.get(threads, threads)


def use_threads(threads: int | None) -> None:
    """Let this process compute with so many CPU threads; None for as many as torch chose.

    A fork keeps one: the threads of libgomp are not in it, and it would wait for them for ever.
    """
    chosen = chosen_threads()
    if os.getpid() == PROCESS:
        torch.set_num_threads(threads or chosen)
        _CHANGED.clear()
        _CHANGED[torch.get_num_threads()] = chosen


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[None]:
    """Return the context in which forward passes run."""
    if precision == "fp32":
        return contextlib.nullcontext()
    context: contextlib.AbstractContextManager[None] = torch.autocast(device.type, torch.bfloat16)
    return context


@contextlib.contextmanager
def held_in(net: nn.Module, precision: Precision) -> Iterator[None]:
    """Within this context the frozen linear layers of `net` hold their weights in a precision.

    Autocast would convert them in every call, to the same numbers.
    """
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    layers = [module for module in net.modules() if isinstance(module, nn.Linear)]
    parameters = {p for layer in layers for p in layer.parameters(recurse=False)}
    whole = {p: p.data for p in parameters if not p.requires_grad}
    try:
        for parameter, value in whole.items():
            parameter.data = value.to(dtype)
        yield
    finally:
        for parameter, value in whole.items():
            parameter.data = value


def read_later(number: Tensor) -> Callable[[], float]:
    """Begin to copy a scalar to the host; return a function that waits for it.

    It waits for what a GPU was given to do before this call, not for what it is given later.
    """
    if number.device.type != "cuda":
        return lambda: float(number)
    host = torch.empty((), dtype=number.dtype, pin_memory=True)
    host.copy_(number, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def read() -> float:
        copied.synchronize()
        return float(host)

    return read


def send(x: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of any shape on a device; copies to a GPU are asynchronous."""
    if device.type != "cuda" or x.device.type == "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def rows_of(x: Tensor, indices: Sequence[int]) -> Tensor:
    """Return rows (B, ...) of a tensor (N, ...) on its device, without waiting for a GPU."""
    if isinstance(indices, range):
        return x[indices.start : indices.stop]
    return x.index_select(0, send(torch.tensor(indices), x.device))


def choose_attention(
    device: torch.device, precision: Precision
) -> Literal["sdpa", "eager-text", "eager"]:
    """Return how the towers attend in training: what docs/speed.md shows to be the fastest.

    On a CPU the gradient of the fused function is slow: always for texts, which are short, and in
    bf16 also for images. Without gradient the fused function is the faster one.
    """
    if device.type != "cpu":
        return "sdpa"
    return "eager-text" if precision == "fp32" else "eager"


def free_memory_mib() -> float:
    """Return the host memory that this process may still take, in MiB.

    On Linux, what the kernel calls available, or what the control group leaves if that is less;
    elsewhere, half of the memory there is.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return _total_memory_mib() / 2
    fields = dict(line.split(":", 1) for line in lines)
    return min(int(fields["MemAvailable"].split()[0]) / 2**10, _left_in_group_mib())


def _total_memory_mib() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    except (ValueError, OSError, AttributeError):  # Windows
        return 4096.0


def _left_in_group_mib(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Return what the memory limit of a container leaves; infinity without one."""
    for folder, limit, used in (
        (root, "memory.max", "memory.current"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError, KeyError):  # "max" is no number: no limit
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            held = int((folder / used).read_text()) - int(stat["inactive_file"])
            return (int((folder / limit).read_text()) - held) / 2**20
    return math.inf
