"""Tiny random CLIPs in the layouts in which real ones are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tiny_config(**text: Any) -> CLIPConfig:
    tower = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    return CLIPConfig(
        text_config={**tower, "max_position_embeddings": 20, **text},
        vision_config={**tower, "image_size": 16, "patch_size": 8},
        projection_dim=24,
    )


def write_clip(folder: Path, model: CLIPModel) -> Path:
    """Write the layout that transformers writes, without its progress bar."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.to_json_file(folder / "config.json")
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder
