"""Files of tensors: written whole or not at all, and copied whole or not at all."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
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


def copy_tensors(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """Copy tensors of any shape by name, or none; return the names that do not fit each other."""
    misfits = sorted(set(target) ^ set(source))
    shared = sorted(set(target) & set(source))
    misfits += [name for name in shared if target[name].shape != source[name].shape]
    for name in () if misfits else shared:
        target[name].copy_(source[name])
    return misfits


def crc32(tensor: Tensor) -> int:
    """Return the CRC-32 of the bytes of a tensor of any shape."""
    return zlib.crc32(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
