"""Files of tensors: written whole or not at all, and checked before they replace anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from fewtune.core.files import write_atomic


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: dict[str, str]) -> None:
    """Write tensors of any shape to `path` atomically, as safetensors.

    Raises:
        RunError: The disk is full or the folder is not writable; `path` is as it was.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(plain, temporary, meta)
        except SafetensorError as error:  # how its Rust side reports a full disk
            raise OSError(str(error)) from error

    write_atomic(path, write)


def misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors, of any shape, that only one side has or that differ in shape."""
    names = sorted(set(wanted) ^ set(found))
    shared = sorted(set(wanted) & set(found))
    return names + [name for name in shared if wanted[name].shape != found[name].shape]
