"""Micro-batches and text chunks give the gradients of the whole step and follow from the budget."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fewtune.core.discovery import plugins
from fewtune.core.errors import ConfigError
from fewtune.core.spec import Plan, Recipe
from fewtune.model.head import Head, Output
from fewtune.model.load_strategy import load_strategy
from fewtune.model.strategy import Strategy
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.clipfit import ClipFit
from fewtune.strategies.vpt_deep import VptDeep
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.loop import Training, prepare
from fewtune.training.memory import memory_plan
from fewtune.training.memory.memory_probe import LiveBytes, Need, measure
from fewtune.training.run_model import attach
from fewtune.training.tracking import Tracker

TASK = tiny_task(classes=5)
RECIPE = Recipe(batch_size=7, flip=False, length=2, length_unit="steps")
PLAN = Plan(device="cpu", threads=1, memory_mib=1000, cache_mib=0)
STRATEGIES = [
    kind(type=inference)
    for name in plugins("strategies")
    for kind in [load_strategy(name)]
    if kind.recipe and kind.recipe.length
    for inference in kind.types
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("memory") / "clip")


def ready(strategy: Strategy, folder: Path, **plan: int) -> Training:
    head = attach(strategy, tiny_clip(folder), TASK.support().classes, RECIPE, 0)
    chosen = PLAN.model_copy(update=plan)
    training = Training(head, TASK.support(), RECIPE, chosen, "fp32", 0, 0)
    prepare(training, Tracker())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in training.parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return training


def gradients(training: Training) -> dict[str, Tensor]:
    loss = torch.tensor(training.gradients(1)())
    found = {name: p.grad for name, p in training.parameters.items() if p.grad is not None}
    return {"loss": loss, **found}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        scale = max(1.0, float(value.abs().max()))
        assert torch.allclose(value, other[name], rtol=0, atol=1e-5 * scale), name


@pytest.mark.parametrize(
    "strategy",
    [*STRATEGIES, ClipFit(regulariser="squared"), VptDeep(dropout=0.0)],
    ids=lambda s: f"{s.name()}-{s.type}",
)
def test_micro_batches_give_the_gradients_of_the_whole(strategy: Strategy, folder: Path) -> None:
    whole = gradients(ready(strategy, folder))
    assert_equal(whole, gradients(ready(strategy, folder, micro_batch=3, text_chunk=2)))


class PairHead(Head):
    """Compares the images of a batch with each other."""

    divisible = False

    def loss(self, output: Output, labels: Tensor) -> Tensor:
        return output.logits.std(0).sum()


class Pairs(ClipLora):
    def attach(self, model: object, classes: object) -> Head:
        super().attach(model, classes)  # type: ignore[arg-type]
        return PairHead(model, classes)  # type: ignore[arg-type]


def test_a_loss_between_images_is_never_divided(folder: Path) -> None:
    whole = gradients(ready(Pairs(), folder))
    assert_equal(whole, gradients(ready(Pairs(), folder, micro_batch=3)))


def test_live_bytes_are_those_of_tensors_alive_at_a_time() -> None:
    def work(rows: int) -> None:
        x = torch.ones(rows, 1 << 18)  # 1 MiB a row
        y = x * 2
        x.add_(1)
        del x
        y.view(-1)[:3] + y[0, 0]
        torch.zeros(1 << 18)

    need = measure(work)
    assert need.slope_mib == 2
    assert need.mib(5) == pytest.approx(10, abs=0.01)
    with LiveBytes() as live:
        kept = torch.ones(10)
    assert (live.now, live.peak) == (40, 40)
    del kept
    assert live.now == 0


def fake_needs(monkeypatch: pytest.MonkeyPatch, held_mib: float, images: Need, texts: Need) -> None:
    monkeypatch.setattr(memory_plan, "_needs", lambda training: (images, texts))
    for name in ("used_mib", "peak_mib"):
        monkeypatch.setattr(memory_plan, name, lambda device: held_mib)
    monkeypatch.setattr(memory_plan, "SPREAD", 1.0)
    monkeypatch.setattr(memory_plan, "WORKSPACE_MIB", 0.0)


@pytest.mark.parametrize(
    ("memory", "cache", "sizes"),
    [
        (1000, 0, (0, 0, 0)),  # all fits: 7 images of 10, 5 prompts of 100
        (1000, 330, (0, 0, 330)),
        (700, 60, (4, 0, 60)),  # fewer images next to all prompts ...
        (500, 0, (0, 3, 0)),  # ... before prompts in chunks, all images then
        (220, 0, (0, 1, 0)),
        (200, 90, (0, 1, 0)),  # what is kept yields to the work
    ],
)
def test_micro_batches_and_chunks_follow_from_the_budget(
    memory: int,
    cache: int,
    sizes: tuple[int, int, int],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_needs(monkeypatch, 100, Need(0, 10), Need(0, 100))
    plan = PLAN.model_copy(update={"memory_mib": memory, "cache_mib": cache})
    found = memory_plan.plan_training(plan, ready(ClipLora(), folder))
    assert (found.micro_batch, found.text_chunk, found.cache_mib) == sizes


def test_too_small_a_budget_names_one_that_works(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_needs(monkeypatch, 100, Need(0, 10), Need(0, 100))
    training = ready(ClipLora(), folder)
    with pytest.raises(ConfigError, match=r"does not fit into 150 MiB") as caught:
        memory_plan.plan_training(PLAN.model_copy(update={"memory_mib": 150}), training)
    named = int(caught.value.hint.split("--memory ")[1].split("MiB")[0])
    assert memory_plan.plan_training(PLAN.model_copy(update={"memory_mib": named}), training)


@pytest.mark.parametrize(
    ("memory", "runs"),
    [(0, 20), (1000, 20), (500, 10), (301, 5), (160, 2), (120, 1), (90, 1)],  # 20 runs of 30 each
)
def test_runs_of_a_stack_follow_from_the_budget(
    memory: int, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_needs(monkeypatch, 100, Need(), Need())
    monkeypatch.setattr(memory_plan, "measure", lambda step: Need(0, 20))
    plan = PLAN.model_copy(update={"memory_mib": memory})
    assert memory_plan.plan_runs(plan, torch.device("cpu"), lambda rows: None, 10, 20) == runs


def test_out_of_memory_is_tried_again_in_halves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gradients(ready(ClipLora(), folder))
    training = ready(ClipLora(), folder)
    stored: list[Plan] = []
    training.save_plan = stored.append
    forward = Head.forward

    def tight(self: Head, images: object, classes: object) -> Output:
        output = forward(self, images, classes)  # type: ignore[arg-type]
        if len(output.logits) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return output

    monkeypatch.setattr(Head, "forward", tight)
    assert_equal(whole, gradients(training))
    assert [(p.micro_batch, p.text_chunk) for p in stored] == [(4, 3), (2, 2)]
    assert stored[-1] == training.plan

    monkeypatch.setattr(Head, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        training.gradients(1)
