"""Writes the text tower for `photo`: weights in half precision, configuration, tokenizer."""

import shutil
from pathlib import Path

from safetensors.torch import save_file
from transformers import CLIPTextModelWithProjection

from pretraining.picto.export import TOKENIZER_FILES


def export_text(model: CLIPTextModelWithProjection, tokenizer: Path, target: Path) -> None:
    """Tensors carry the names of `CLIPModel`, of which they are the text half."""
    target.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, target / "text.safetensors")
    (target / "text.safetensors").chmod(0o644)
    model.config.to_json_file(target / "text_config.json")
    for name in TOKENIZER_FILES:
        if tokenizer != target:
            shutil.copyfile(tokenizer / name, target / name)
