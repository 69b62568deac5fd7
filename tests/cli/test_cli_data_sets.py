"""Benchmark datasets by name, from miniatures below one root to a run with a paper's draw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Cli

import miniatures
from fewtune.core.draws import Draw, few_shot
from fewtune.datasets import catalog

DATA_SETS: dict[str, tuple[str, Draw]] = {
    "fewshot/eurosat": ("CoOp folder", "clip-lora"),
    "vtab/svhn": ("list folder", "fewtune"),
    "imagenet-a": ("ImageNet variant", "coop"),
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_fit_takes_a_dataset_by_name(name: str, cli: Cli, backbone: Path, place: Path) -> None:
    form, draw = DATA_SETS[name]
    root = miniatures.write(name, form, place / "data").root
    outcome = cli(
        "fit clip-lora --json --shots 2 --length 2 --length-unit steps --threads 1 "
        "--precision fp32 --rank 1 --encoder vision --runs runs --template {}",
        *("--data", name, "--root", root, "--backbone", backbone, "--draw", draw),
    )
    assert outcome.status == 0, outcome.err
    record = json.loads(outcome.out)["record"]
    assert record["spec"]["draw"] == draw
    assert bool(record["spec"]["drawn"]) == (draw != "fewtune")
    assert 0 <= record["metrics"]["top1"] <= 1
    folder = next(place.glob(f"runs/clip-lora-{name.replace('/', '-')}-*"))
    stored = json.loads((folder / "task.json").read_text())["drawn"]
    expected = few_shot(catalog.resolve(name, root=root, few_shot=True), 2, 0, draw)
    assert stored["train"] == [[e.key, e.label] for e in expected.train]
    assert stored["val"] == [[e.key, e.label] for e in expected.val]


def test_a_draw_needs_shots(cli: Cli, images: Path) -> None:
    outcome = cli("fit clip-lora --draw coop --data", images)
    assert outcome.status == 2
    assert "there are no --shots. Add --shots 16." in outcome.err
