"""VPT by concatenating tokens by hand, CLIP-Adapter by formula, the linear probe's gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle_clip import (
    Leaves,
    adamw,
    check,
    close,
    cross_entropy,
    embeddings,
    labels,
    leaves,
    logits_now,
    normal,
    pixels,
    similarity,
    start,
    stock,
    texts,
    tokens,
)
from torch import Tensor

from fewtune.strategies.clip_adapter import ClipAdapter
from fewtune.strategies.linear_probe import LinearProbe
from fewtune.strategies.vpt_deep import VptDeep
from fewtune.strategies.vpt_shallow import VptShallow
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task

TASK = tiny_task()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("image") / "clip")


def text_side(folder: Path) -> tuple[Tensor, float]:
    model = stock(folder)
    with torch.no_grad():
        w = embeddings(model.get_text_features(**tokens(folder, texts(TASK))))
    return w, float(model.logit_scale.exp())


def prompted(
    folder: Path, depth: int, *, before_norm: bool, order: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Leaves], Tensor]:
    """A function of the tokens: logits of an image tower that was given them block by block."""
    model = stock(folder)
    tower, x = model.vision_model, pixels(TASK.train)
    w, scale = text_side(folder)

    def logits(values: Leaves) -> Tensor:
        prompts = values["head.tokens"]
        if "head.project.weight" in values:
            weight, bias = values["head.project.weight"], values["head.project.bias"]
            prompts = prompts @ weight.T + bias
        many = [prompts[layer].expand(len(x), *prompts[layer].shape) for layer in range(depth)]
        h = tower.embeddings(x)
        if before_norm:
            h = tower.pre_layrnorm(order(h, many[0]))
        else:
            h = order(tower.pre_layrnorm(h), many[0])
        count = prompts.shape[1]
        for layer, block in enumerate(tower.encoder.layers):
            if 0 < layer < depth:
                at = 1 if order is after_class else h.shape[1] - count
                h = torch.cat([h[:, :at], many[layer], h[:, at + count :]], dim=1)
            h = block(h, None)
        z = model.visual_projection(tower.post_layernorm(h[:, 0]))
        return similarity(z, w, scale)

    return logits


def after_class(h: Tensor, prompts: Tensor) -> Tensor:
    """[CLS, prompts, patches]: the place in the VPT paper."""
    return torch.cat([h[:, :1], prompts, h[:, 1:]], dim=1)


def at_the_end(h: Tensor, prompts: Tensor) -> Tensor:
    return torch.cat([h, prompts], dim=1)


@pytest.mark.parametrize(
    ("strategy", "depth"),
    [
        (VptDeep(tokens=3), 4),
        (VptDeep(tokens=2, depth=2, insert="before-norm"), 2),
        (VptDeep(tokens=2, projection=6, initialisation="normal"), 4),
        (VptShallow(tokens=5), 1),
        (VptShallow(tokens=1, insert="before-norm", projection=3), 1),
    ],
)
def test_tokens_by_hand(folder: Path, strategy: VptDeep, depth: int) -> None:
    training = start(strategy, folder, TASK)
    values = leaves(training)
    assert values["head.tokens"].shape == (depth, strategy.tokens, strategy.projection or 32)
    before = strategy.insert == "before-norm"
    logits = prompted(folder, depth, before_norm=before, order=after_class)
    with torch.no_grad():
        found = logits_now(training, pixels(TASK.train))
        close(found, logits(values), "logits", 1e-5)
        end = prompted(folder, depth, before_norm=before, order=at_the_end)
        close(found, end(values), "logits with tokens at the end", 1e-5)
        other = prompted(folder, depth, before_norm=not before, order=after_class)
        assert (other(values) - found).abs().max() > 0.1
    lr = training.recipe.lr
    check(
        training,
        values,
        lambda v: cross_entropy(logits(v), labels(TASK.train)),
        adamw(lr, 1e-2),
        lr,
    )


def test_the_order_of_tokens_is_immaterial(folder: Path) -> None:
    training = start(VptDeep(tokens=4), folder, TASK)
    x = pixels(TASK.train)
    before = logits_now(training, x)
    with torch.no_grad():
        training.parameters["head.tokens"].copy_(
            training.parameters["head.tokens"][:, [2, 0, 3, 1]]
        )
    close(logits_now(training, x), before, "logits", 1e-5)


def zero_shot_logits(folder: Path) -> Tensor:
    with torch.no_grad():
        inputs = tokens(folder, texts(TASK))
        output = stock(folder)(pixel_values=pixels(TASK.train), **inputs)
    return torch.as_tensor(output.logits_per_image)


@pytest.mark.parametrize("insert", ["before-norm", "after-norm"])
def test_no_tokens_is_zero_shot(folder: Path, insert: Any) -> None:
    model = tiny_clip(folder)
    head = VptDeep(tokens=0, insert=insert).attach(model, TASK.classes).eval()
    with torch.no_grad():
        logits = head(model.pixels(pixels(TASK.train)), model.encode(head.prompts(TASK.classes)))
    close(logits.logits, zero_shot_logits(folder), "logits", 3e-6)


def test_bounds_of_the_first_tokens(folder: Path) -> None:
    bound = math.sqrt(6 / (3 * 8 * 8 + 32))
    tokens_ = VptDeep(tokens=64).attach(tiny_clip(folder), TASK.classes).state_dict()["tokens"]
    assert 0.97 * bound < tokens_.abs().max() <= bound
    assert abs(tokens_.std() - bound / math.sqrt(3)) < 0.03 * bound
    normal_ = VptDeep(tokens=64, initialisation="normal").attach(tiny_clip(folder), TASK.classes)
    assert abs(normal_.state_dict()["tokens"].std() - 0.02) < 0.001


def test_prompt_dropout_is_on_in_training_only(folder: Path) -> None:
    training = start(VptDeep(tokens=2, dropout=0.5), folder, TASK)
    dropped = {training.forward(step).item() for step in (0, 0, 1)}
    assert len(dropped) == 2
    training.evaluation_mode()
    first, second = (logits_now(training, pixels(TASK.train)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("ratio", "reduction"), [(0.2, 4), (0.7, 2), (1.0, 8)])
def test_adapter_by_formula(folder: Path, ratio: float, reduction: int) -> None:
    training = start(ClipAdapter(ratio=ratio, reduction=reduction), folder, TASK)
    values = leaves(training)
    with torch.no_grad():
        z = embeddings(stock(folder).get_image_features(pixel_values=pixels(TASK.train)))
    w, scale = text_side(folder)

    def logits(v: Leaves) -> Tensor:
        adapted = (z @ v["head.down.weight"].T).clamp(min=0) @ v["head.up.weight"].T
        return similarity(ratio * adapted.clamp(min=0) + (1 - ratio) * z, w, scale)

    assert values["head.down.weight"].shape == (max(1, 16 // reduction), 16)
    with torch.no_grad():
        if reduction == 8:  # keep its few hidden units awake
            for name, sign in (("head.down.weight", z.mean(0).sign()), ("head.up.weight", 1.0)):
                values[name].copy_(values[name].abs() * sign)
                training.parameters[name].copy_(values[name])
        close(logits_now(training, pixels(TASK.train)), logits(values), "logits", 1e-5)
    lr = ClipAdapter.recipe.lr
    check(
        training,
        values,
        lambda v: cross_entropy(logits(v), labels(TASK.train)),
        adamw(lr, 1e-4),
        lr,
    )


def test_adapter_with_ratio_zero_is_zero_shot(folder: Path) -> None:
    training = start(ClipAdapter(ratio=0.0), folder, TASK)
    found = logits_now(training, pixels(TASK.train))
    close(found, zero_shot_logits(folder), "logits", 3e-6)


def test_linear_probe_gradient_by_hand(folder: Path) -> None:
    training = start(LinearProbe(), folder, TASK)
    values = leaves(training)
    assert values.keys() == {"head.linear.weight", "head.linear.bias"}
    with torch.no_grad():
        z = embeddings(stock(folder).get_image_features(pixel_values=pixels(TASK.train)))
        z = normal(z) * math.sqrt(z.shape[1])
    target = labels(TASK.train)
    logits = z @ values["head.linear.weight"].T + values["head.linear.bias"]
    # d loss / d logits = (softmax - one-hot) / N
    error = (logits.softmax(1) - torch.eye(3)[target]).detach() / len(target)
    training.head.backward(training.forward(0))
    close(training.parameters["head.linear.weight"].grad, error.T @ z, "gradient of W")  # type: ignore[arg-type]
    close(training.parameters["head.linear.bias"].grad, error.sum(0), "gradient of b")  # type: ignore[arg-type]
    training.optimizer.zero_grad()
    lr = LinearProbe.recipe.lr
    check(
        training,
        values,
        lambda v: cross_entropy(
            z @ v["head.linear.weight"].T + v["head.linear.bias"], labels(TASK.train)
        ),
        adamw(lr, 1e-2),
        lr,
    )


@pytest.mark.parametrize(
    "strategy", [ClipAdapter(type="vision"), VptDeep(type="vision", tokens=2), LinearProbe()]
)
def test_a_linear_head_starts_undecided_and_encodes_no_text(folder: Path, strategy: Any) -> None:
    model = tiny_clip(folder)
    head = strategy.attach(model, TASK.classes)
    with torch.no_grad():
        output = head(model.pixels(pixels(TASK.train)), None)
    assert not output.logits.any()
    assert output.text is None
    assert not any("text" in name for name, _ in head.trainable())


def test_zero_shot_trains_nothing(folder: Path) -> None:
    assert not list(ZeroShot().attach(tiny_clip(folder), TASK.classes).trainable())
