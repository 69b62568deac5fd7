"""What makes a step cheaper leaves its numbers: chunks, shared prefixes, lowered weights."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fewtune.backbones import shared_prefix
from fewtune.core.errors import ConfigError
from fewtune.core.spec import Plan, Precision, Recipe
from fewtune.core.task import ClassSet
from fewtune.model import lora
from fewtune.model.dropout import keep_mask
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head, Output
from fewtune.model.strategy import Strategy
from fewtune.model.towers import TokenBatch
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.clipfit import ClipFit
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.loop import Training
from fewtune.training.run_model import attach

TASK = tiny_task(classes=5)
RECIPE = Recipe(batch_size=8, crop_scale=None, flip=False, length=2, length_unit="steps")
SHARED = RECIPE.model_copy(update={"shared_prefix": True})
PREFIX = len("a photo of ") + 1  # a token per character, and the start


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("chunks") / "clip")


class HookedHead(Head):
    """A learned token shift in the text tower, dropout of its own, and two backward passes."""

    def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
        super().__init__(model, classes)
        self.shift = torch.nn.Parameter(torch.full((model.text.width,), 0.1))
        model.add_hook(model.text, "block.1", self._shift)

    def _shift(self, x: Tensor, rows: TokenBatch | None) -> Tensor:
        assert rows is not None
        place = torch.arange(x.shape[1]) == rows.end[:, None]
        return x + place[:, :, None] * self.shift

    def loss(self, output: Output, labels: Tensor) -> Tensor:
        assert output.text is not None
        return super().loss(output, labels) + output.text.square().mean()

    def backward(self, loss: Tensor) -> None:
        (first,) = torch.autograd.grad(loss, [self.shift], retain_graph=True)
        loss.backward()  # type: ignore[no-untyped-call]
        assert self.shift.grad is not None
        self.shift.grad += first


class Hooked(Strategy):
    title = "Hooked"
    recipe = RECIPE

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        return HookedHead(model, classes)


def training(
    strategy: Strategy,
    folder: Path,
    chunk: int = 0,
    precision: Precision = "fp32",
    recipe: Recipe = RECIPE,
) -> Training:
    head = attach(strategy, tiny_clip(folder), TASK.support().classes, recipe, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in head.trainable():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    plan = Plan(device="cpu", threads=1, text_chunk=chunk)
    return Training(head, TASK.support(), recipe, plan, precision, 0, 0)


def gradients(
    strategy: Strategy,
    folder: Path,
    chunk: int,
    share_prefix: bool = False,
    recipe: Recipe = RECIPE,
) -> dict[str, Tensor]:
    ready = training(strategy, folder, chunk, recipe=recipe)
    ready.model.text.share_prefix = share_prefix
    loss = ready.forward(0)
    ready.head.backward(loss)
    found = {name: p.grad for name, p in ready.parameters.items() if p.grad is not None}
    return {"loss": loss.detach(), **found}


@pytest.mark.parametrize(
    "strategy",
    [ClipLora(dropout=0.25), ClipLora(dropout=0.1, rank=1), ClipFit(), Hooked()],
    ids=lambda strategy: strategy.name(),
)
def test_chunks_change_nothing(folder: Path, strategy: Strategy) -> None:
    whole = gradients(strategy, folder, 0)
    for chunk in (1, 2, 5):
        parts = gradients(strategy, folder, chunk)
        assert parts.keys() == whole.keys()
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("strategy", [ClipLora(dropout=0.0, position="half-up"), ClipFit()])
def test_a_shared_prefix_goes_through_once(
    folder: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = gradients(strategy, folder, 0)
    tokens = []
    run_blocks = shared_prefix.run_blocks

    def spy(blocks: Any, x: Tensor, common: int, attention: str) -> Tensor:
        tokens.append((x.shape[1], common))
        return run_blocks(blocks, x, common, attention)

    monkeypatch.setattr(shared_prefix, "run_blocks", spy)
    for chunk in (0, 2):
        shared = gradients(strategy, folder, chunk, share_prefix=True)
        assert shared.keys() == plain.keys()
        for name, value in plain.items():
            torch.testing.assert_close(shared[name], value, atol=1e-5, rtol=1e-5)
    assert (PREFIX + len("violet") + 2, PREFIX) in tokens


@pytest.mark.parametrize("strategy", [ClipLora(), Hooked()])
def test_rows_that_are_told_apart_share_no_prefix(
    folder: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(shared_prefix, "run_blocks")
    gradients(strategy, folder, 0, share_prefix=True)


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5)


def test_dropout_on_a_shared_prefix_equals_rows_with_one_mask_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = ClipLora(dropout=0.25, matrices="qkvo")
    masks: list[Tensor] = []

    def recording(*args: Any) -> Tensor:
        masks.append(keep_mask(*args))
        return masks[-1]

    monkeypatch.setattr(lora, "keep_mask", recording)
    shared = gradients(strategy, folder, 0, share_prefix=True, recipe=SHARED)
    packed = PREFIX + len(TASK.classes) * (len("violet") + 2)
    assert {tuple(mask.shape[:2]) for mask in masks} >= {(1, packed), (5, PREFIX + 8), (5, 1)}

    def injected(shape: Any, *_: Any) -> Tensor:
        """The masks of before, for whole rows."""
        mask = masks.pop(0)
        if mask.shape[1] == packed:
            own = mask[0, PREFIX:].view(shape[0], -1, shape[2])
            return torch.cat([mask[:, :PREFIX].expand(shape[0], -1, -1), own], 1)
        if mask.shape[0] == len(TASK.classes) and mask.shape[1] > PREFIX:  # the last block
            assert (mask[:, :PREFIX] == mask[:1, :PREFIX]).all()
        return mask

    monkeypatch.setattr(lora, "keep_mask", injected)
    assert_equal(gradients(strategy, folder, 0), shared)
    assert not masks
    monkeypatch.setattr(lora, "keep_mask", keep_mask)
    for chunk, share_prefix in ((2, True), (0, False), (2, False)):
        assert_equal(gradients(strategy, folder, chunk, share_prefix, SHARED), shared)
    assert not torch.equal(gradients(strategy, folder, 0)["loss"], shared["loss"])
    without = ClipLora(dropout=0.0)
    plain = gradients(without, folder, 0)
    assert_equal(gradients(without, folder, 0, share_prefix=True, recipe=SHARED), plain)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (Hooked(), r"changes prompts inside the text tower \(before block\.1\)"),
        (ClipLora(encoder="vision"), "nothing in the text tower is trained"),
        (ClipLora(type="vision"), "nothing in the text tower is trained"),
    ],
)
def test_where_no_prefix_can_be_shared(folder: Path, strategy: Strategy, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        training(strategy, folder, recipe=SHARED)


def test_weights_held_in_bf16_are_what_autocast_makes_of_them(folder: Path) -> None:
    found = []
    for held in (False, True):
        ready = training(ClipLora(), folder, 0, "bf16")
        before = {name: p.clone() for name, p in ready.model.net.named_parameters()}
        with ready.lowered() if held else contextlib.nullcontext():
            kinds = {p.dtype for p in ready.model.net.parameters() if not p.requires_grad}
            assert (torch.bfloat16 in kinds) == held
            ready.head.backward(ready.forward(0))
        found.append([parameter.grad for parameter in ready.parameters.values()])
        after = dict(ready.model.net.named_parameters())
        assert all(torch.equal(after[name], value) for name, value in before.items())
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert torch.equal(one, other)  # type: ignore[arg-type]
