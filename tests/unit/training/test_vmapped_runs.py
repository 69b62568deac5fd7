"""Runs that are trained at once equal runs that are trained one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from fewtune.core.errors import RunError
from fewtune.core.files import read_json
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.strategies.clip_adapter import AdapterHead, ClipAdapter
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.linear_probe import LinearProbe
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.job import Job
from fewtune.training.memory.memory_probe import MIB, LiveBytes, measure
from fewtune.training.run import Execution, run
from fewtune.training.run_model import load_backbone
from fewtune.training.tracking import Tracker
from fewtune.training.vmapped import vmapped_runs
from fewtune.training.vmapped.run_stack import RunStack
from fewtune.training.vmapped.vmapped_runs import SharedInputs, _run_group, run_vmapped

TASK = tiny_task()


class Notes(Tracker):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def status(self, text: str) -> None:
        self.texts.append(text)

    def said(self, text: str) -> bool:
        return any(text in note for note in self.texts)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("vmapped") / "clip")


class RatedHead(AdapterHead):
    def groups(self, parameters: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
        return [{"params": [self.down.weight]}, {"params": [self.up.weight], "rate": 0.1}]


class Rated(ClipAdapter):
    """One of its matrices is trained at a tenth of the rate."""

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        return RatedHead(model, classes, self)


def jobs(
    backbone: Path, runs: Path, strategy: Strategy, rates: dict[float, dict[str, Any]]
) -> list[Job]:
    """Two seeds at each rate."""
    recipe = type(strategy).recipe
    assert recipe is not None
    recipe = recipe.model_copy(
        update={"length": 7, "length_unit": "steps", "views": 2, "batch_size": 4}
    )
    return [
        Job.of(
            strategy,
            TASK,
            str(backbone),
            recipe.model_copy(update={"lr": rate, **more}),
            shots=2,
            seed=seed,
            device="cpu",
            precision="fp32",
            threads=1,
            runs=runs,
        )
        for rate, more in rates.items()
        for seed in (1, 2)
    ]


@pytest.mark.parametrize(
    ("strategy", "rates"),
    [
        (LinearProbe(), {1e-2: {}, 0.1: {"weight_decay": 0.5, "warmup": 2}}),
        (Rated(), {1e-2: {"optimizer": "sgd"}, 0.1: {"optimizer": "sgd", "momentum": 0.5}}),
    ],
)
def test_at_once_equals_one_by_one(
    backbone: Path, tmp_path: Path, strategy: Strategy, rates: dict[float, dict[str, Any]]
) -> None:
    notes = Notes()
    together = run_vmapped(jobs(backbone, tmp_path / "together", strategy, rates), notes)
    assert notes.said(f"training {2 * len(rates)} runs")
    alone = [run(job, Tracker()) for job in jobs(backbone, tmp_path / "alone", strategy, rates)]
    for one, two in zip(together, alone, strict=True):
        assert one.fresh
        assert one.folder.name == two.folder.name
        assert {p.name for p in one.folder.iterdir()} == {p.name for p in two.folder.iterdir()}
        assert one.record["metrics"] == pytest.approx(two.record["metrics"], abs=1e-5)
        assert one.record["cost"]["runs_at_once"] == 2 * len(rates)
        tensors, others = (load_file(r.folder / "adapter.safetensors") for r in (one, two))
        assert tensors.keys() == others.keys()
        for name in tensors:
            torch.testing.assert_close(tensors[name], others[name], rtol=0, atol=1e-5)
        logs = [
            [json.loads(line) for line in (r.folder / "metrics.jsonl").read_text().splitlines()]
            for r in (one, two)
        ]
        for a, b in zip(*logs, strict=True):
            assert a.get("loss", 0) == pytest.approx(b.get("loss", 0), abs=1e-5)
            assert (a.get("step"), a.get("phase")) == (b.get("step"), b.get("phase"))
            assert a.get("lr", 0) == pytest.approx(b.get("lr", 0))
        assert (
            read_json(one.folder / "plan.json").keys() == read_json(two.folder / "plan.json").keys()
        )


def test_a_stack_that_is_too_large_becomes_several(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = RunStack.train

    def tight(self: RunStack) -> None:
        if len(self.runs) > 2:
            raise torch.OutOfMemoryError("out of memory")
        train(self)

    monkeypatch.setattr(RunStack, "train", tight)
    rates: dict[float, dict[str, Any]] = {1e-2: {}, 0.1: {}}
    parts = run_vmapped(jobs(backbone, tmp_path / "parts", ClipAdapter(), rates), Tracker())
    assert [r.record["cost"]["runs_at_once"] for r in parts] == [2] * 4
    assert [r.record["spec"]["seed"] for r in parts] == [1, 2, 1, 2]
    notes = Notes()
    monkeypatch.setattr(vmapped_runs, "plan_runs", lambda *_: 1)
    run_vmapped(jobs(backbone, tmp_path / "none", ClipAdapter(), {1e-2: {}}), notes)
    assert notes.said("there is memory for one run at a time: 2 runs one by one")


def test_what_a_stack_takes_is_known_from_two_runs(backbone: Path, tmp_path: Path) -> None:
    asked = jobs(backbone, tmp_path, ClipAdapter(reduction=1), {1e-2: {}, 0.1: {}, 1.0: {}})
    model = load_backbone(asked[0], Tracker())
    runs = SharedInputs(2).stacked_runs([Execution(job, model, Tracker()) for job in asked])
    for stacked in runs:
        stacked.training.features.batch(range(1))  # kept from now on
    need = measure(lambda rows: RunStack(runs[:rows]).step(0))
    with LiveBytes() as live:
        RunStack(runs).step(0)
    assert need.mib(len(runs)) == pytest.approx(live.peak / MIB, rel=0.1)
    values = 2 * model.dim**2
    assert need.slope_mib > 4 * 4 * values / MIB  # values, gradients and two averages


def test_what_cannot_be_stacked_runs_one_by_one(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    lora = jobs(backbone, tmp_path, ClipLora(rank=1), {1e-3: {}})
    probe = jobs(backbone, tmp_path, LinearProbe(), {1e-2: {}})
    results = run_vmapped([lora[0], probe[0], lora[1], probe[0]], notes)
    assert notes.said("clip-lora does not work on finished features alone: 2 runs one by one")
    assert not notes.said("at once")
    strategies = [result.record["spec"]["strategy"] for result in results]
    assert strategies == ["clip-lora", "linear-probe", "clip-lora", "linear-probe"]
    assert "runs_at_once" not in results[0].record["cost"]
    refused = jobs(backbone, tmp_path / "refused", ClipLora(rank=1), {1e-3: {}})
    assert _run_group(refused, notes) == [None, None]
    assert not list(tmp_path.glob("refused/clip-lora-*/plan.json"))  # each run makes its own
    again = run_vmapped([lora[1], lora[0]], notes)
    assert [result.fresh for result in again] == [False, False]
    losses = RunStack._losses
    monkeypatch.setattr(RunStack, "_losses", lambda *arguments: 1.1 * losses(*arguments))
    run_vmapped(jobs(backbone, tmp_path / "other", LinearProbe(), {1e-2: {}}), notes)
    assert notes.said("stacked losses differ")


def dropping(self: AdapterHead, z: Tensor) -> Tensor:
    """An adapter with dropout."""
    return z + functional.dropout(self.up(self.down(z)), 0.5, self.training)


def test_a_head_with_dropout_is_not_stacked(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdapterHead, "image", dropping)
    notes = Notes()
    run_vmapped(jobs(backbone, tmp_path, ClipAdapter(), {1e-3: {}}), notes)
    assert notes.said("the head cannot be stacked")
    assert not notes.said("at once")


def test_a_run_that_diverges_does_not_take_the_others_along(backbone: Path, tmp_path: Path) -> None:
    constant = {"optimizer": "sgd", "schedule": "constant", "length": 40}
    rates = {1e6: {**constant, "weight_decay": 1e6}, 1e-2: constant}
    with pytest.raises(RunError, match=r"The loss became (inf|nan) at step .* lr 1e\+06"):
        run_vmapped(jobs(backbone, tmp_path, LinearProbe(), rates), Tracker())
    records = [read_json(path) for path in tmp_path.glob("linear-probe-*/record.json")]
    assert [record["spec"]["recipe"]["lr"] for record in records] == [0.01, 0.01]
