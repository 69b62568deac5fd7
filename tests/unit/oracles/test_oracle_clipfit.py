"""CLIPFit's loss, gradients and SGD steps, written by hand on the stock model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from oracle_clip import (
    Leaves,
    check,
    close,
    cross_entropy,
    embeddings,
    labels,
    leaves,
    logits_now,
    normal,
    pixels,
    sgd,
    start,
    stock,
    texts,
    tokens,
)
from torch import Tensor
from torch.func import functional_call

from fewtune.core.spec import Plan
from fewtune.strategies.clipfit import ClipFit
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.loop import Training
from fewtune.training.run_model import attach

TASK = tiny_task()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("clipfit") / "clip")


def expected_names() -> set[str]:
    norms = ["pre_layrnorm", "post_layernorm"]
    norms += [f"encoder.layers.{i}.layer_norm{j}" for i in range(4) for j in (1, 2)]
    names = {f"model.vision_model.{norm}.{kind}" for norm in norms for kind in ("weight", "bias")}
    return names | {f"model.text_model.encoder.layers.{i}.mlp.fc2.bias" for i in range(4)}


def oracle(folder: Path) -> Callable[[Leaves], tuple[Tensor, Tensor, Tensor]]:
    """A function of the trained tensors: (logits, new text embeddings, old text embeddings)."""
    model = stock(folder)
    inputs = {"pixel_values": pixels(TASK.train), **tokens(folder, texts(TASK))}
    with torch.no_grad():
        old = normal(embeddings(model.get_text_features(**tokens(folder, texts(TASK)))))

    def forward(values: Leaves) -> tuple[Tensor, Tensor, Tensor]:
        changed = {name.removeprefix("model."): value for name, value in values.items()}
        output = functional_call(model, changed, kwargs=inputs)
        return output.logits_per_image, normal(output.text_embeds), old

    return forward


def test_loss_gradients_and_momentum_steps(folder: Path) -> None:
    training = start(ClipFit(), folder, TASK)
    values = leaves(training)
    assert values.keys() == expected_names()
    forward = oracle(folder)

    def loss(v: Leaves) -> Tensor:
        logits, new, old = forward(v)
        return cross_entropy(logits, labels(TASK.train)) + 8 * (1 - (new * old).sum(1).mean())

    with torch.no_grad():
        logits, new, old = forward(values)
        assert (1 - (new * old).sum(1).mean()) > 1e-3
        close(logits_now(training, pixels(TASK.train)), logits, "logits", 1e-5)
    check(training, values, loss, sgd(2e-3, 0.9, 5e-4), 2e-3, steps=3)


def test_squared_change_by_hand(folder: Path) -> None:
    training = start(ClipFit(regulariser="squared", lambda_=0.3), folder, TASK)
    values = leaves(training)
    forward, start_values = oracle(folder), dict(stock(folder).named_parameters())
    groups = (
        [n for n in values if n.endswith("fc2.bias")],
        [n for n in values if "norm" in n and n.endswith("weight")],
        [n for n in values if "norm" in n and n.endswith("bias")],
    )
    assert [len(group) for group in groups] == [4, 10, 10]

    def loss(v: Leaves) -> Tensor:
        penalty = sum(
            sum(((v[n] - start_values[n.removeprefix("model.")]) ** 2).sum() for n in group)
            / len(group)
            for group in groups
        )
        return cross_entropy(forward(v)[0], labels(TASK.train)) + 0.3 * penalty

    check(training, values, loss, sgd(2e-3, 0.9, 5e-4), 2e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_teacher_term_is_zero_at_the_start(folder: Path, precision: str) -> None:
    losses = []
    for strategy in (ClipFit(), ClipFit(regulariser="none")):
        model = tiny_clip(folder)
        recipe = ClipFit.recipe.model_copy(update={"crop_scale": None})  # type: ignore[union-attr]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            head = attach(strategy, model, TASK.support().classes, recipe, 0)
        plan = Plan(device="cpu", threads=1)
        training = Training(head, TASK.support(), recipe, plan, precision, 0, 0)  # type: ignore[arg-type]
        losses.append(training.forward(0).item())
    assert abs(losses[0] - losses[1]) < 5e-6


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"biases": "none"}, 20),
        ({"biases": "fc1", "norms": "none"}, 4),
        ({"biases": "qkv", "norms": "none"}, 12),
        ({"biases": "out", "norms": "none"}, 4),
        ({"biases": "mlp", "norms": "none"}, 8),
        ({"biases": "all", "norms": "none"}, 24),
        ({"biases": "all", "norms": "none", "bias_towers": "both"}, 48),
        ({"norms": "none", "bias_towers": "image", "type": "vision"}, 6),
        ({"biases": "none", "norms": "text"}, 18),
        ({"norms": "both"}, 42),
        ({"type": "vision"}, 22),
    ],
)
def test_what_the_options_unfreeze(folder: Path, options: dict[str, str], count: int) -> None:
    strategy = ClipFit(**options)  # type: ignore[arg-type]
    head = strategy.attach(tiny_clip(folder), TASK.support().classes)
    names = [name for name, _ in head.trainable()]
    assert len(names) == count
    if options.get("type") == "vision":
        assert not any("text_model" in name for name in names)
