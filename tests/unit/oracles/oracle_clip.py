"""What every oracle shares: the stock model, pixels and token ids made without FewTune, optimizers
written out, and the comparison itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision import transforms
from transformers import AutoTokenizer, CLIPModel

from fewtune.core.spec import Plan
from fewtune.core.task import Example, Task
from fewtune.model.strategy import Strategy
from fewtune.testing import tiny_clip
from fewtune.training.loop import Training
from fewtune.training.run_model import attach

Leaves = dict[str, Tensor]
Update = Callable[[Leaves, Leaves, dict[str, Any], int], None]


@cache
def stock(folder: Path, attention: str = "sdpa") -> Any:
    """The stock transformers model of a folder; nobody may change it."""
    model = CLIPModel.from_pretrained(folder, attn_implementation=attention)
    return model.eval().requires_grad_(False)


@cache
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def tokens(folder: Path, texts: list[str]) -> dict[str, Tensor]:
    """Ids and mask as transformers' own tokenizer makes them."""
    batch = tokenizer(folder)(texts, padding=True, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def pixels(examples: tuple[Example, ...]) -> Tensor:
    """The test transform of CLIP's paper repository, at the tiny model's size."""
    transform = transforms.Compose(
        [
            transforms.Resize(32, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        ]
    )
    images = [Image.fromarray(np.asarray(e.source.read())) for e in examples]  # type: ignore[union-attr]
    return torch.stack([transform(image) for image in images])


def labels(examples: tuple[Example, ...]) -> Tensor:
    return torch.tensor([example.label for example in examples])


def texts(task: Task) -> list[str]:
    return [f"a photo of {name}." for name in task.classes.names]


def similarity(z: Tensor, w: Tensor, scale: float) -> Tensor:
    """scale * cos(z, w) for every pair."""
    return scale * (z / z.norm(dim=-1, keepdim=True)) @ (w / w.norm(dim=-1, keepdim=True)).T


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return -(logits.log_softmax(1)[torch.arange(len(target)), target]).mean()


def start(strategy: Strategy, folder: Path, task: Task, **recipe: Any) -> Training:
    """The strategy on the tiny model: full batches, plain pixels, moved off its starting point."""
    model = tiny_clip(folder)
    default = type(strategy).recipe
    assert default is not None
    changes = {"batch_size": 64, "crop_scale": None, "views": 0, "schedule": "constant"}
    settings = default.model_copy(update={**changes, "warmup": 0, **recipe})
    head = attach(strategy, model, task.support().classes, settings, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in head.trainable():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    plan = Plan(device="cpu", threads=1)
    return Training(head, task.support(), settings, plan, "fp32", 0, 0)


def leaves(training: Training) -> Leaves:
    """Copies of the trained tensors, with gradients, in the oracle's hands."""
    return {n: p.detach().clone().requires_grad_() for n, p in training.head.trainable()}


def logits_now(training: Training, x: Tensor) -> Tensor:
    """What the head scores, dropout off."""
    training.evaluation_mode()
    with torch.no_grad():
        return training.head(training.model.pixels(x), training.classes).logits


def sgd(lr: float, momentum: float, decay: float) -> Update:
    """v <- m v + (g + d p); p <- p - lr v."""

    def update(values: Leaves, gradients: Leaves, state: dict[str, Any], _: int) -> None:
        for name, value in values.items():
            gradient = gradients[name] + decay * value
            velocity = momentum * state[name] + gradient if name in state else gradient
            state[name] = velocity
            value.sub_(lr * velocity)

    return update


def adamw(lr: float, decay: float, eps: float = 1e-8) -> Update:
    """Loshchilov and Hutter, algorithm 2, betas (0.9, 0.999)."""

    def update(values: Leaves, gradients: Leaves, state: dict[str, Any], step: int) -> None:
        for name, value in values.items():
            gradient = gradients[name]
            first, second = state.get(name, (torch.zeros_like(value), torch.zeros_like(value)))
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            state[name] = (first, second)
            corrected = second / (1 - 0.999**step)
            value.mul_(1 - lr * decay)
            value.sub_(lr * (first / (1 - 0.9**step)) / (corrected.sqrt() + eps))

    return update


def close(found: Tensor, expected: Tensor, what: str, share: float = 2e-4) -> None:
    """Equal up to a share of the largest entry."""
    error = (found - expected).abs().max().item() if found.numel() else 0.0
    limit = share * max(expected.abs().max().item() if expected.numel() else 0.0, 1e-3)
    assert error <= limit, f"{what}: differs by {error:.3g}, allowed {limit:.3g}"


def check(
    training: Training,
    values: Leaves,
    loss: Callable[[Leaves], Tensor],
    update: Update,
    lr: float,
    steps: int = 2,
) -> None:
    """Compare loss and gradients of every trained tensor, then `steps` optimizer steps."""
    assert values.keys() == training.parameters.keys()
    expected = loss(values)
    found = training.forward(0)
    assert math.isclose(found.item(), expected.item(), rel_tol=1e-5, abs_tol=1e-6)
    gradients = dict(zip(values, torch.autograd.grad(expected, list(values.values())), strict=True))
    training.head.backward(found)
    for name, parameter in training.parameters.items():
        assert parameter.grad is not None, name
        close(parameter.grad, gradients[name], f"gradient of {name}")
    training.optimizer.zero_grad()
    state: dict[str, Any] = {}
    for step in range(steps):
        gradients = dict(
            zip(values, torch.autograd.grad(loss(values), list(values.values())), strict=True)
        )
        with torch.no_grad():
            update(values, gradients, state, step + 1)
        training.step(step)
        for name, parameter in training.parameters.items():
            # An entry whose gradient vanishes has an update that rounding alone decides.
            certain = gradients[name].abs() > 1e-3 * gradients[name].abs().max()
            error = ((parameter - values[name]).abs() * certain).max().item()
            assert error <= 2e-2 * lr, f"{name} after step {step + 1}: {error:.3g}"
        with torch.no_grad():
            for name, parameter in training.parameters.items():
                values[name].copy_(parameter)


def embeddings(output: Any) -> Tensor:
    """The embedding in what transformers' get_*_features returns."""
    return output if isinstance(output, Tensor) else output.pooler_output


def normal(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)
