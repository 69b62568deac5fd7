"""Changes of weights, against differences of the stored tensors worked out by hand."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from short_runs import Tuned

from fewtune.analysis import weight_change
from fewtune.analysis.layer_sums import Layer
from fewtune.core.files import read_json
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.clipfit import ClipFit
from fewtune.strategies.tip_adapter_f import TipAdapterF
from fewtune.strategies.vpt_deep import VptDeep

pytestmark = pytest.mark.usefixtures("empty_pdf")
BLOCKS = range(4)
TEXT, IMAGE = "text_model.encoder.layers", "vision_model.encoder.layers"


def square(tensor: torch.Tensor) -> float:
    return float(tensor.double().square().sum())


def test_a_low_rank_update_counts_as_what_it_changes_in_the_weight(tuned: Tuned) -> None:
    run = tuned(ClipLora(rank=4, alpha=2.0))
    stored = load_file(run.folder.adapter)
    found = weight_change.per_layer(weight_change.changes(run))
    scale = 2.0 / math.sqrt(4)
    for tower, prefix in (("text", TEXT), ("image", IMAGE)):
        for block in BLOCKS:
            factors = [f"model.{prefix}.{block}.self_attn.{m}_proj" for m in "qkv"]
            by_hand = sum(
                square(scale * stored[f"{f}.B"].double() @ stored[f"{f}.A"].double())
                for f in factors
            )
            assert by_hand > 0
            layer = Layer(tower, f"block.{block}", "matrices")
            assert found.pop(layer) == pytest.approx(by_hand, rel=1e-12)
    assert not found


def test_an_unfrozen_tensor_counts_as_its_difference_from_the_checkpoint(
    tuned: Tuned, backbone: Path
) -> None:
    run = tuned(ClipFit())
    before, after = load_file(backbone / "model.safetensors"), load_file(run.folder.adapter)
    found = weight_change.per_layer(weight_change.changes(run))

    def by_hand(*names: str) -> float:
        return sum(square(after[f"model.{n}"].double() - before[n].double()) for n in names)

    for block in BLOCKS:
        norms = [f"{IMAGE}.{block}.layer_norm{i}" for i in (1, 2)]
        expected = {
            Layer("text", f"block.{block}", "biases"): by_hand(f"{TEXT}.{block}.mlp.fc2.bias"),
            Layer("image", f"block.{block}", "LayerNorm weights"): by_hand(
                *(f"{norm}.weight" for norm in norms)
            ),
            Layer("image", f"block.{block}", "LayerNorm biases"): by_hand(
                *(f"{norm}.bias" for norm in norms)
            ),
        }
        for layer, value in expected.items():
            assert found.pop(layer) == pytest.approx(value, rel=1e-9), layer
    outside = {(layer.tower, layer.stage) for layer in found}
    assert outside == {("image", "norm"), ("image", "pool")}
    weight = found[Layer("image", "pool", "LayerNorm weights")]
    assert weight == pytest.approx(by_hand("vision_model.post_layernorm.weight"), rel=1e-9)


def test_added_tokens_count_from_their_own_start_block_by_block(tuned: Tuned) -> None:
    strategy = VptDeep(tokens=2)
    run = tuned(strategy)
    stored = load_file(run.folder.adapter)["head.tokens"].double()
    start = run.start
    assert start is not None
    bound = math.sqrt(6 / (3 * 8**2 + 32))
    assert bound / 2 < start["head.tokens"].abs().max() <= bound
    moved = (stored - start["head.tokens"].double()).square().sum((1, 2))
    found = weight_change.per_layer(weight_change.changes(run))
    assert found == {
        Layer("image", f"block.{block}", "prompts"): pytest.approx(float(moved[block]), rel=1e-9)
        for block in BLOCKS
    }


def test_a_start_that_is_made_of_images_is_not_guessed_without_them(
    tuned: Tuned, tmp_path: Path
) -> None:
    run = tuned(TipAdapterF())
    (known,) = weight_change.changes(run)
    assert known.change is not None
    assert 0 < known.change < known.start
    blind = weight_change.analyse([replace(run, task=None)], tmp_path)
    assert blind["runs"][0]["unknown"] == ["head.keys"]
    assert not (tmp_path / "drift.svg").exists()


def test_runs_stand_side_by_side(tuned: Tuned, tmp_path: Path) -> None:
    runs = [tuned(ClipFit()), tuned(ClipFit(regulariser="squared", lambda_=20.0))]
    facts = weight_change.analyse(runs, tmp_path)
    assert read_json(tmp_path / "drift.json") == facts
    assert (tmp_path / "drift.svg").exists()
    with (tmp_path / "drift.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == {run.folder.path.name for run in runs}
    # A penalty on the change keeps weights nearer to where they were.
    free, held = (sum(c.change or 0 for c in weight_change.changes(run)) for run in runs)
    assert held < free
