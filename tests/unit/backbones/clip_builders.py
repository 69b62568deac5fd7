"""Tiny random CLIPs in the layouts in which real ones are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel

WORDS = ["unk", "pad", "START", "END", "a", "photo", "of", "cat", "dog"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tiny_config(**text: Any) -> CLIPConfig:
    tower = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    vocabulary = {"vocab_size": len(WORDS), "eos_token_id": WORDS.index("END")}
    return CLIPConfig(
        text_config={**tower, "max_position_embeddings": 20, **vocabulary, **text},
        vision_config={**tower, "image_size": 16, "patch_size": 8},
        projection_dim=24,
    )


def write_clip(folder: Path, model: CLIPModel) -> Path:
    """Write the layout that transformers writes, without its progress bar."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.to_json_file(folder / "config.json")
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    write_word_tokenizer(folder, WORDS)
    return folder


def write_word_tokenizer(folder: Path, words: list[str]) -> None:
    """Write a word-level tokenizer whose ids are the places in `words`."""
    rust = RustTokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=words[0]))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [(word, words.index(word)) for word in ("START", "END")]
    rust.post_processor = processors.TemplateProcessing(
        single="START $A END", special_tokens=special
    )
    # Stored truncation and padding must not reach the prompts.
    rust.enable_truncation(4)
    rust.enable_padding(length=12)
    rust.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
