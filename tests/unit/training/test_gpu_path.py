"""What a GPU would wait for, as far as a CPU can tell: reads of numbers, and copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from fewtune.core.discovery import plugins
from fewtune.core.spec import Plan, Recipe
from fewtune.model.load_strategy import load_strategy
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.device import rows_of, send
from fewtune.training.loop import Training, prepare
from fewtune.training.run_model import attach
from fewtune.training.tracking import Tracker

TASK = tiny_task(classes=5)
RECIPE = Recipe(batch_size=7, flip=False, length=2, length_unit="steps")
STRATEGIES = [
    kind
    for name in plugins("strategies")
    for kind in [load_strategy(name)]
    if kind.recipe and kind.recipe.length
]


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names operations whose result the host must know."""

    waits = ("_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "item")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in self.waits:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("gpu") / "clip")


@pytest.mark.parametrize("kind", STRATEGIES, ids=lambda kind: kind.name())
def test_a_step_waits_for_its_loss_alone(
    kind: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a CPU, torch reads the labels that it makes vectors of.
    monkeypatch.setattr(F, "one_hot", lambda x, count: x[:, None] == torch.arange(count))
    # The seeds of dropout masks are drawn and read on the host.
    strategy = kind(**({"dropout": 0.0} if "dropout" in kind.model_fields else {}))
    head = attach(strategy, tiny_clip(folder), TASK.support().classes, RECIPE, 0)
    for sizes in ({}, {"micro_batch": 3, "text_chunk": 2}):
        plan = Plan(device="cpu", threads=1, **sizes)
        training = Training(head, TASK.support(), RECIPE, plan, "bf16", 0, 0)
        prepare(training, Tracker())
        training.step(0)
        with Reads() as reads:
            loss = training.gradients(1)
            assert reads.names == []
            loss()
            training.optimizer.step()
        assert reads.names == ["aten._local_scalar_dense.default"]


class Elsewhere:
    """A tensor as far as it is copied."""

    def __init__(self, device: str, *done: str) -> None:
        self.device = torch.device(device)
        self.done = done

    def pin_memory(self) -> Elsewhere:
        return Elsewhere("cpu", *self.done, "pinned")

    def to(self, device: torch.device, non_blocking: bool = False) -> Elsewhere:
        return Elsewhere(str(device), *self.done, "asynchronous" if non_blocking else "plain")


def test_copies_to_a_gpu_are_pinned_and_asynchronous() -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert send(Elsewhere("cpu"), cuda).done == ("pinned", "asynchronous")  # type: ignore[arg-type, attr-defined]
    assert send(Elsewhere("cuda:0"), cuda).done == ("plain",)  # type: ignore[arg-type, attr-defined]
    assert send(Elsewhere("cpu"), cpu).done == ("plain",)  # type: ignore[arg-type, attr-defined]
    x = torch.arange(8).view(4, 2)
    assert rows_of(x, [3, 0, 3]).tolist() == [[6, 7], [0, 1], [6, 7]]
    assert rows_of(x, range(1, 3)).tolist() == [[2, 3], [4, 5]]
