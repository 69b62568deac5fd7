"""Checkpoints of an unfinished run: trained tensors, optimizer state and the step, in one file."""

import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from fewtune.core.errors import RunError
from fewtune.model.head import Head
from fewtune.training.tensor_files import copy_tensors, crc32, write_tensors

INTERVAL_S = 20.0
OPTIMIZER = "optimizer."
EARLIER = "earlier."
CHECKSUM = "crc32"


class Checkpoints:
    """The one checkpoint file of a run.

    Args:
        path: The file.
        interval_s: Seconds between two writes.
    """

    def __init__(self, path: Path, interval_s: float = INTERVAL_S) -> None:
        self.path = path
        self.interval_s = interval_s
        self._earlier: dict[str, Tensor] = {}
        self._written = time.monotonic()

    def tick(self, phase: int, step: int, head: Head, optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint when the last one is old enough."""
        if time.monotonic() - self._written >= self.interval_s:
            self.save(phase, step, head, optimizer)

    def save(self, phase: int, step: int, head: Head, optimizer: torch.optim.Optimizer) -> None:
        """Write the state after `step` steps of a phase, atomically."""
        tensors = head.saved()
        for name, parameter in head.trainable():
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{OPTIMIZER}{name}.{key}"] = value
        tensors.update((f"{EARLIER}{name}", value) for name, value in self._earlier.items())
        checksum = _checksum(tensors, phase, step)
        meta = {"phase": str(phase), "step": str(step), CHECKSUM: checksum}
        write_tensors(self.path, tensors, meta)
        self._written = time.monotonic()

    def phase(self) -> int:
        """Return the phase that the checkpoint is of; 0 without one."""
        return self._meta()[0] if self.path.exists() else 0

    def keep_earlier(self, head: Head) -> None:
        """Store from now on what a phase has made of the head: the next phase begins with it."""
        self._earlier = {name: value.detach().clone() for name, value in head.saved().items()}

    def restore_earlier(self, head: Head) -> None:
        """Load what the phase before the checkpoint's has made of the head.

        Raises:
            RunError: The file is damaged or of another run; the head is as it was.
        """
        tensors = {k: v for k, v in self._tensors().items() if k.startswith(EARLIER)}
        self._copy({k.removeprefix(EARLIER): v for k, v in tensors.items()}, head)
        self.keep_earlier(head)

    def restore(self, phase: int, head: Head, optimizer: torch.optim.Optimizer) -> int | None:
        """Load the checkpoint and return the number of steps done; None if none is of this phase.

        Raises:
            RunError: The file is damaged or of another run; head and optimizer are as they were.
        """
        if not self.path.exists():
            return None
        of_phase, step = self._meta()
        if of_phase != phase:
            return None
        tensors = self._tensors()
        aside = (OPTIMIZER, EARLIER)
        self._copy({k: v for k, v in tensors.items() if not k.startswith(aside)}, head)
        for name, parameter in head.trainable():
            prefix = f"{OPTIMIZER}{name}."
            state = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device)
                for key, value in state.items()
            }
        return step

    def _tensors(self) -> dict[str, Tensor]:
        tensors = load_file(self.path)
        if self._metadata().get(CHECKSUM) not in (None, _checksum(tensors, *self._meta())):
            raise self._unreadable("it was changed or damaged")
        return tensors

    def _copy(self, tensors: dict[str, Tensor], head: Head) -> None:
        if misfits := copy_tensors(tensors, head.saved()):
            raise self._unreadable(f"it does not fit at {misfits[0]!r}")

    def _meta(self) -> tuple[int, int]:
        meta = self._metadata()
        try:
            return int(meta["phase"]), int(meta["step"])
        except (KeyError, ValueError) as error:
            raise self._unreadable(str(error)) from error

    def _metadata(self) -> dict[str, str]:
        try:
            with safe_open(self.path, "pt") as file:
                return dict(file.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise self._unreadable(str(error)) from error

    def _unreadable(self, why: str) -> RunError:
        return RunError(
            f"{self.path} is not a checkpoint of this run: {why}.",
            hint="Delete the file to start this run again.",
        )


def _checksum(tensors: Mapping[str, Tensor], phase: int, step: int) -> str:
    """Return a checksum of tensors of any shape with their names, and of the place in training."""
    parts = [f"{name} {tuple(t.shape)} {crc32(t)}" for name, t in sorted(tensors.items())]
    return f"{zlib.crc32(repr((phase, step, parts)).encode()):08x}"
