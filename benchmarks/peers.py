"""What people would write instead: training steps on transformers, with and without PEFT.

Each function returns a step: a batch of ready pixels, all class prompts encoded with gradient,
backward, optimizer. Prompts are tokenised once. Decoding and augmentation are left out; FewTune's
own step contains them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from benchmarks.harness import Step
from benchmarks.models import network, pixels, token_ids
from fewtune.core.spec import Precision
from fewtune.training.device import autocast

CPU = torch.device("cpu")
RANK, SCALE = 2, 1 / math.sqrt(2)


def lora_with_peft(
    size: str, classes: int, batch: int, precision: Precision, dropout: float, length: int | None
) -> Step:
    """CLIP-LoRA by PEFT's layers; `length` 77 is padding="max_length", None padding=True."""
    net = network(size)
    config = LoraConfig(
        r=RANK,
        lora_alpha=1,
        use_rslora=True,
        lora_dropout=dropout,
        target_modules=["q_proj", "k_proj", "v_proj"],
    )
    return _step(get_peft_model(net, config).train(), net, classes, batch, precision, length)


def lora_of_the_authors(
    size: str, classes: int, batch: int, precision: Precision, dropout: float
) -> Step:
    """CLIP-LoRA's own loop: a branch and a mask for each matrix, prompts of 77 tokens."""
    net = network(size)
    for tower in (net.text_model, net.vision_model):
        for block in tower.encoder.layers:
            for name in ("q_proj", "k_proj", "v_proj"):
                layer = getattr(block.self_attn, name)
                setattr(block.self_attn, name, _Branch(layer, dropout))
    return _step(net.train(), net, classes, batch, precision, 77)


def clipfit_by_hand(size: str, classes: int, batch: int, precision: Precision) -> Step:
    """CLIPFit: text MLP biases and image norms are unfrozen, prompts are padded to 77 tokens."""
    net = network(size)
    text = token_ids(classes, 77)
    with torch.no_grad(), autocast(CPU, precision):
        teacher = _normalised(net.get_text_features(**text))
    for name, parameter in net.named_parameters():
        norm = name.startswith("vision_model") and "norm" in name
        bias = name.startswith("text_model") and name.endswith("mlp.fc2.bias")
        parameter.requires_grad_(norm or bias)

    def penalty(w: Tensor) -> Tensor:
        return 8 * (1 - (w * teacher).sum(1).mean())

    return _step(net.train(), net, classes, batch, precision, 77, penalty)


def vpt_by_hand(size: str, classes: int, batch: int, precision: Precision, tokens: int) -> Step:
    """VPT-deep by forward hooks on the image blocks; class embeddings are computed once."""
    net = network(size)
    width = net.config.vision_config.hidden_size
    layers = net.vision_model.encoder.layers
    prompts = nn.Parameter(torch.randn(len(layers), tokens, width) * 0.02)

    def hook(layer: int) -> Callable[..., Any]:
        def insert(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Any, ...]:
            x, *rest = arguments
            mine = prompts[layer].expand(len(x), -1, -1).to(x.dtype)
            kept = x if layer == 0 else x[:, :-tokens]
            return (torch.cat([kept, mine], 1), *rest)

        return insert

    for index, layer in enumerate(layers):
        layer.register_forward_pre_hook(hook(index))
    with torch.no_grad(), autocast(CPU, precision):
        w = _normalised(net.get_text_features(**token_ids(classes)))
    optimizer = torch.optim.AdamW([prompts], 1e-2)
    images, labels = pixels(net, batch), torch.arange(batch) % classes

    def step() -> None:
        with autocast(CPU, precision):
            z = _normalised(net.get_image_features(images))
            loss = F.cross_entropy(net.logit_scale.exp() * z @ w.T, labels)
        _update(optimizer, loss)

    return step


def bare_prediction(size: str, classes: int, batch: int, precision: Precision) -> Step:
    """Class scores of a batch by transformers alone, class embeddings computed once."""
    net = network(size)
    with torch.inference_mode(), autocast(CPU, precision):
        w = _normalised(net.get_text_features(**token_ids(classes)))
    images = pixels(net, batch)

    def step() -> Tensor:
        with torch.inference_mode(), autocast(CPU, precision):
            z = _normalised(net.get_image_features(images))
            logits: Tensor = net.logit_scale.exp() * z @ w.T
            return logits.softmax(1)

    return step


class _Branch(nn.Module):
    """y = W x + s B A drop(x), three plain operations a matrix."""

    def __init__(self, base: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.base = base
        self.drop = nn.Dropout(dropout)
        self.A = nn.Parameter(torch.empty(RANK, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, RANK))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.base(x) + SCALE * (self.drop(x) @ self.A.T @ self.B.T)
        return result


def _step(
    model: Any,
    net: Any,
    classes: int,
    batch: int,
    precision: Precision,
    length: int | None,
    penalty: Callable[[Tensor], Tensor] | None = None,
) -> Step:
    """Return a step that trains whatever requires a gradient."""
    text = token_ids(classes, length)
    images, labels = pixels(net, batch), torch.arange(batch) % classes
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 2e-4)
    scale = net.logit_scale.exp().detach()

    def step() -> None:
        with autocast(CPU, precision):
            w = _normalised(model.get_text_features(**text))
            z = _normalised(model.get_image_features(images))
            loss = F.cross_entropy(scale * z @ w.T, labels)
            if penalty:
                loss = loss + penalty(w)
        _update(optimizer, loss)

    return step


def _normalised(output: Any) -> Tensor:
    return F.normalize(output.pooler_output.float(), dim=-1)


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
