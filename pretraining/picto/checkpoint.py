"""Checkpoints: one safetensors file with flat tensors and a small header, written atomically."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

Groups = dict[str, dict[str, torch.Tensor]]


def save(path: Path, groups: Groups, facts: dict[str, Any]) -> None:
    """Writes tensors as `group/name`."""
    flat = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, tensors in groups.items()
        for name, tensor in tensors.items()
    }
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(flat, partial, metadata={"facts": json.dumps(facts)})
    os.replace(partial, path)


def load(path: Path) -> tuple[Groups, dict[str, Any]]:
    """Reads a file of `save`."""
    groups: Groups = {}
    with safe_open(path, framework="pt") as file:
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
        for key in file.keys():  # noqa: SIM118 - the handle is no dictionary
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = file.get_tensor(key)
    return groups, facts
