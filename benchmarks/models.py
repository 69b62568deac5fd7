"""Backbones of the real sizes with random weights, class names, and images to train on."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from typing import Any

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel

from fewtune.backbones.checkpoint import Checkpoint
from fewtune.backbones.clip import build
from fewtune.backbones.model_names import ASSETS
from fewtune.backbones.tokenizer import Tokenizer, load_tokenizer
from fewtune.core.preprocess import Preprocess
from fewtune.core.task import ClassSet, Example, Support, Task
from fewtune.data.decode import InMemory
from fewtune.model.dual_encoder import DualEncoder

TEMPLATE = "a photo of a {}."
STORED_PX = 256  # side of an image before it is cropped

_TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_CONFIGS: dict[str, dict[str, Any]] = {
    "ViT-B16": {"vision_config": {"patch_size": 16}},
    "ViT-B32": {"vision_config": {"patch_size": 32}},
    "tiny": {
        "text_config": _TINY,
        "vision_config": {**_TINY, "patch_size": 16, "image_size": 32},
        "projection_dim": 16,
    },
}


def network(size: str) -> CLIPModel:
    """Return a frozen CLIP of transformers with random weights and OpenAI's logit scale."""
    return copy.deepcopy(_tiny()) if size == "tiny" else _made(size)


@cache
def _tiny() -> CLIPModel:
    return _made("tiny")


def _made(size: str) -> CLIPModel:
    torch.manual_seed(0)
    net = CLIPModel(CLIPConfig(**_CONFIGS[size]))
    torch.nn.init.constant_(net.logit_scale, float(np.log(100)))
    return net.eval().requires_grad_(False)


@cache
def tokenizer() -> Tokenizer:
    """Return CLIP's tokenizer."""
    text = CLIPConfig().text_config
    return load_tokenizer(
        None,
        context=text.max_position_embeddings,
        vocabulary=text.vocab_size,
        eos_token_id=text.eos_token_id,
    )


def dual_encoder(size: str) -> DualEncoder:
    """Return the same network as FewTune sees it."""
    net = network(size)
    side = net.config.vision_config.image_size
    preprocess = Preprocess(side, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    return build(Checkpoint(size, "random", net, tokenizer(), preprocess))


@cache
def class_names(count: int) -> tuple[str, ...]:
    """Return names of two words, a token each: with the template, prompts of 9 tokens."""
    vocabulary = json.loads((ASSETS / "clip_bpe" / "vocab.json").read_text(encoding="utf-8"))
    words = [word[:-4] for word in vocabulary if re.fullmatch(r"[a-z]{4,6}</w>", word)]
    side = int(np.ceil(np.sqrt(count)))
    names = [f"{first} {second}" for first in words[:side] for second in words[side : 2 * side]]
    return tuple(names[:count])


def support(classes: int, images: int, side_px: int = STORED_PX) -> Support:
    """Return classes and noise to train on, held in memory."""
    rng = np.random.default_rng(0)

    def example(index: int) -> Example:
        pixels = rng.integers(0, 256, (side_px, side_px, 3), np.uint8)
        return Example(str(index), index % classes, InMemory(pixels))

    names = ClassSet(class_names(classes), (TEMPLATE,))
    return Task("noise", names, tuple(example(i) for i in range(images))).support()


def pixels(net: CLIPModel, images: int) -> torch.Tensor:
    """Return normalised pixels (N, 3, S, S) of noise."""
    side = net.config.vision_config.image_size
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, 3, side, side, generator=generator)


def token_ids(classes: int, length: int | None = None) -> dict[str, torch.Tensor]:
    """Return ids and attention mask (C, L) of the prompts, L that of the longest or `length`.

    This is what `CLIPTokenizer(..., padding=True)` and `padding="max_length"` give.
    """
    prompts = [TEMPLATE.replace("{}", name) for name in class_names(classes)]
    ids, end = tokenizer()(prompts)
    if length and length > ids.shape[1]:
        filler = ids[:, -1:].expand(-1, length - ids.shape[1])
        ids = torch.cat([ids, filler], 1)
    mask = torch.arange(ids.shape[1])[None] <= end[:, None]
    return {"input_ids": ids, "attention_mask": mask.long()}
