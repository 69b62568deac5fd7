"""Class prompts sent in chunks: equal numbers, and no activation kept in between."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fewtune.core.head import Head, Output
from fewtune.core.model import DualEncoder, Rows
from fewtune.core.spec import Plan, Recipe
from fewtune.core.strategy import Strategy
from fewtune.core.task import ClassSet
from fewtune.engine.fit import Training
from fewtune.engine.run import attach
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.clipfit import ClipFit
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task

TASK = tiny_task(classes=5)
RECIPE = Recipe(batch_size=8, crop_scale=None, flip=False, length=2, length_unit="steps")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("chunks") / "clip")


class HookedHead(Head):
    """A learned token shift in the text tower, dropout of its own, and two backward passes."""

    def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
        super().__init__(model, classes)
        self.shift = torch.nn.Parameter(torch.full((model.text.width,), 0.1))
        model.before(model.text, "block.1", self._shift)

    def _shift(self, x: Tensor, rows: Rows | None) -> Tensor:
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


def training(strategy: Strategy, folder: Path, chunk: int) -> Training:
    head = attach(strategy, tiny_clip(folder), TASK.support().classes, RECIPE, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in head.trainable():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    plan = Plan(device="cpu", threads=1, text_chunk=chunk)
    return Training(head, TASK.support(), RECIPE, plan, "fp32", 0, 0)


def gradients(strategy: Strategy, folder: Path, chunk: int) -> dict[str, Tensor]:
    ready = training(strategy, folder, chunk)
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
