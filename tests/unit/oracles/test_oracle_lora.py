"""CLIP-LoRA against hand-merged weights W + s * B A, and against PEFT."""

from __future__ import annotations

import copy
import math
import warnings
from itertools import chain
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
    labels,
    leaves,
    logits_now,
    pixels,
    start,
    stock,
    texts,
    tokens,
)
from torch import Tensor
from torch.func import functional_call

from fewtune.model.dropout import dropout, keep_mask, rounded, rows_from
from fewtune.model.lora import LoraLinear
from fewtune.strategies.clip_lora import ClipLora
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.image_loader import ImageLoader
from fewtune.training.scoring import scores

TASK = tiny_task()
FULL = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("lora") / "clip")


def merged_logits(folder: Path, values: Leaves, scale: float) -> Any:
    """A function of the factors: logits of the stock model with W + scale * B A in place of W."""
    model = stock(folder)
    weights = dict(model.named_parameters())
    inputs = {"pixel_values": pixels(TASK.train), **tokens(folder, texts(TASK))}
    modules = sorted({name.removeprefix("model.").rpartition(".")[0] for name in values})

    def logits(values: Leaves) -> Tensor:
        changed = {
            f"{m}.weight": weights[f"{m}.weight"]
            + scale * values[f"model.{m}.B"] @ values[f"model.{m}.A"]
            for m in modules
        }
        output: Tensor = functional_call(model, changed, kwargs=inputs).logits_per_image
        return output

    return logits


@pytest.mark.parametrize(
    ("options", "modules"),
    [
        ({"matrices": "qkvo", "rank": 3, "alpha": 2.0}, 2 * 4 * 4),
        ({"encoder": "text", "position": "half-up"}, 3 * 2),
        ({"encoder": "vision", "position": "bottom", "matrices": "o"}, 1),
    ],
)
def test_hand_merged_weights(folder: Path, options: dict[str, Any], modules: int) -> None:
    strategy = ClipLora(dropout=0.0, **options)
    training = start(strategy, folder, TASK)
    values = leaves(training)
    assert len(values) == 2 * modules
    scale = options.get("alpha", 1.0) / math.sqrt(options.get("rank", 2))
    logits = merged_logits(folder, values, scale)
    with torch.no_grad():
        close(logits_now(training, pixels(TASK.train)), logits(values), "logits", 1e-5)
    target = labels(TASK.train)
    check(
        training,
        values,
        lambda v: cross_entropy(logits(v), target),
        adamw(2e-4, 1e-2),
        2e-4,
    )


def test_dropout_free_training_mode_has_no_merge_path(folder: Path) -> None:
    training = start(ClipLora(dropout=0.0), folder, TASK)
    before = {n: p.clone() for n, p in training.model.net.named_parameters()}
    training.forward(0)
    after = dict(training.model.net.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_peft_agrees(folder: Path) -> None:
    from peft import LoraConfig, get_peft_model

    strategy = ClipLora(dropout=0.0, matrices="qkvo", rank=4, alpha=3.0)
    training = start(strategy, folder, TASK)
    config = LoraConfig(
        r=4, lora_alpha=3, use_rslora=True, lora_dropout=0.0, target_modules=list(FULL.values())
    )
    with warnings.catch_warnings():
        # PEFT asks transformers for an attribute under its old name.
        warnings.simplefilter("ignore", FutureWarning)
        model: Any = get_peft_model(copy.deepcopy(stock(folder)), config)
    theirs = {}
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            module, _, rest = name.removeprefix("base_model.model.").partition(".lora_")
            theirs[f"model.{module}.{rest[0]}"] = parameter
    assert theirs.keys() == training.parameters.keys()
    with torch.no_grad():
        for name, parameter in training.parameters.items():
            theirs[name].copy_(parameter)
    inputs = {"pixel_values": pixels(TASK.train), **tokens(folder, texts(TASK))}
    logits = model(**inputs).logits_per_image
    close(logits_now(training, pixels(TASK.train)), logits.detach(), "logits", 1e-5)
    optimizer = torch.optim.AdamW(theirs.values(), lr=2e-4, weight_decay=1e-2)
    torch.nn.functional.cross_entropy(logits, labels(TASK.train)).backward()
    optimizer.step()
    training.step(0)
    for name, parameter in training.parameters.items():
        assert parameter.grad is not None
        close(parameter.grad, theirs[name].grad, f"gradient of {name}")
        certain = theirs[name].grad.abs() > 1e-3 * theirs[name].grad.abs().max()
        assert ((parameter - theirs[name]).abs() * certain).max() < 2e-2 * 2e-4, name


def test_evaluation_merges_and_leaves_the_layers(folder: Path) -> None:
    training = start(ClipLora(matrices="qvo"), folder, TASK)
    expected = logits_now(training, pixels(TASK.test))
    names = list(training.model.tuned())
    found = scores(
        training.head, TASK.classes, ImageLoader(TASK.test, training.model.preprocess), "fp32"
    )
    close(found, expected, "logits", 1e-5)
    assert list(training.model.tuned()) == names
    with training.model.merged():
        kinds = {type(module) for module in training.model.net.modules()}
        assert LoraLinear not in kinds
        close(logits_now(training, pixels(TASK.test)), expected, "logits", 1e-5)


def test_the_untrained_layer_is_the_original_one() -> None:
    torch.manual_seed(0)
    base = torch.nn.Linear(64, 48)
    layer = LoraLinear(base, 4, 0.5, 0.25).train()
    x = torch.randn(5, 64)
    assert torch.equal(layer(x), base(x))
    assert 0.115 < layer.A.abs().max() <= 1 / math.sqrt(64)
    assert not layer.B.any()


def _branch_inputs(training: Any, step: int) -> dict[str, Tensor]:
    """What each A receives at a step."""
    seen: dict[str, Tensor] = {}
    linear = torch.nn.functional.linear
    factors = {id(p): n for n, p in training.parameters.items() if n.endswith(".A")}

    def spy(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if id(weight) in factors:
            seen[factors[id(weight)]] = x.detach().clone()
        return linear(x, weight, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.nn.functional.linear", spy)
        training.forward(step)
    return seen


def test_dropout_masks_differ_between_branches_and_steps_and_repeat_by_seed(folder: Path) -> None:
    training = start(ClipLora(rank=1), folder, TASK)
    first, again, other = (_branch_inputs(training, step) for step in (0, 0, 1))
    block = "model.text_model.encoder.layers.0.self_attn"
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    # The first text block sees the same activations at every step: only masks can differ.
    q, k, v = (first[f"{block}.{m}_proj.A"] for m in "qkv")
    for one, two in ((q, k), (q, v), (k, v), (q, other[f"{block}.q_proj.A"])):
        assert ((one == 0) != (two == 0)).float().mean() > 0.2
        both = (one != 0) & (two != 0)
        torch.testing.assert_close(one[both], two[both])
    zeros = torch.cat([(x == 0).float().flatten() for x in first.values()]).mean()
    assert 0.23 < zeros < 0.27


def test_dropout_scales_what_it_keeps_and_leaves_the_frozen_branch(folder: Path) -> None:
    torch.manual_seed(0)
    base = torch.nn.Linear(32, 8).requires_grad_(False)
    layer = LoraLinear(base, 2, 0.5, 0.25).train()
    torch.nn.init.normal_(layer.B)
    x = torch.randn(4, 32, requires_grad=True)
    torch.manual_seed(5)
    mask = keep_mask(x.shape, 0.25, x.device).float()
    torch.manual_seed(5)
    found = layer(x)
    expected = x @ base.weight.T + base.bias + 0.5 * (x * mask / 0.75) @ layer.A.T @ layer.B.T
    torch.testing.assert_close(found, expected)
    inputs, weight = (x, layer.A, layer.B), torch.randn(4, 8)
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(layer.eval()(x), layer.merged()(x))


@pytest.mark.parametrize(("p", "expected"), [(0.25, 0.25), (0.1, 26 / 256), (1e-4, 1 / 256)])
def test_masks_are_independent_bits_that_belong_to_rows(p: float, expected: float) -> None:
    assert rounded(p) == expected
    torch.manual_seed(3)
    whole = keep_mask((40, 7, 93), p, torch.device("cpu"))
    assert set(whole.unique().tolist()) == {0, 1}
    share = 1 - whole.float().mean().item()
    assert abs(share - expected) < 4 * math.sqrt(expected / whole.numel())
    together = ((1 - whole[:-1]) * (1 - whole[1:])).float().mean().item()
    assert abs(together - expected**2) < 5 * expected / math.sqrt(whole.numel())
    for first, last in ((0, 13), (13, 40)):
        torch.manual_seed(3)
        with rows_from(first):
            assert torch.equal(keep_mask((last - first, 7, 93), p, whole.device), whole[first:last])
    torch.manual_seed(3)
    scaled = dropout(torch.ones(40, 7, 93), p, True)
    torch.testing.assert_close(scaled, whole / (1 - expected))
    assert torch.equal(dropout(scaled, p, False), scaled)


def test_positions_of_twelve_blocks_are_the_authors() -> None:
    from fewtune.strategies.clip_lora import positions

    expected = {
        "bottom": range(4),
        "mid": range(4, 8),
        "up": range(8, 12),
        "half-bottom": range(6),
        "half-up": range(6, 12),
        "all": range(12),
    }
    for name, blocks in expected.items():
        assert list(positions(12, name)) == list(blocks)  # type: ignore[arg-type]
    for depth in range(1, 30):
        parts = [list(positions(depth, name)) for name in ("bottom", "mid", "up")]  # type: ignore[arg-type]
        halves = [list(positions(depth, name)) for name in ("half-bottom", "half-up")]  # type: ignore[arg-type]
        assert list(chain(*parts)) == list(chain(*halves)) == list(range(depth))
