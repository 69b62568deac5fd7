"""Where tensors are: for every strategy in the folder, and for one that nobody has seen."""

from __future__ import annotations

import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
from short_runs import Tuned
from torch import Tensor, nn

from fewtune.analysis import diagram
from fewtune.analysis.parameter_map import ParameterMap, map_parameters
from fewtune.core.discovery import plugins
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.load_strategy import load_strategy
from fewtune.model.towers import TokenBatch
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.clipfit import ClipFit
from fewtune.strategies.vpt_deep import VptDeep
from fewtune.testing import tiny_clip, tiny_task
from fewtune.training.run_model import attach

PINNED = tomllib.loads((Path(__file__).parents[2] / "values.toml").read_text(encoding="utf-8"))
CLASSES = tiny_task().support().classes


def places(parameters: ParameterMap) -> dict[tuple[str, str], int]:
    return {(v.tower, v.stage): v.tuned for v in parameters.levels if v.tuned}


@pytest.mark.parametrize("name", plugins("strategies"))
def test_every_tensor_has_one_place_and_counts_are_the_pinned_ones(
    name: str, backbone: Path
) -> None:
    kind = load_strategy(name)
    model = tiny_clip(backbone)
    head = attach(kind(), model, CLASSES, kind.recipe, 0)  # all phases
    required = {n: p.requires_grad for n, p in model.net.named_parameters()}
    found = map_parameters(head, CLASSES)
    assert sum(part.elements for part in found.tuned) == PINNED[name]["parameters"]
    assert found.cuts.image == PINNED[name]["image_cut"]
    assert found.cuts.text == PINNED[name].get("text_cut")
    whole = [p for n, p in model.net.named_parameters() if n != "logit_scale"]
    if head.classifier == "linear":
        whole = [*model.net.vision_model.parameters(), *model.net.visual_projection.parameters()]
    own = [t for t in (*head.parameters(), *head.buffers()) if t.is_floating_point()]
    assert sum(p.elements for p in found.parts) == sum(t.numel() for t in (*whole, *own))
    assert required == {n: p.requires_grad for n, p in model.net.named_parameters()}


def test_strategies_are_where_their_papers_put_them(backbone: Path) -> None:
    def of(strategy: str, **options: object) -> dict[tuple[str, str], int]:
        head = load_strategy(strategy)(**options).attach(tiny_clip(backbone), CLASSES).eval()
        return places(map_parameters(head, CLASSES))

    blocks = [f"block.{i}" for i in range(4)]
    # Per block: A and B of q, k, v; rank 2, width 32.
    each = 3 * 2 * (32 + 32)
    assert of("clip-lora", encoder="text", position="up") == {("text", "block.3"): each}
    assert of("clipfit") == {
        **{("text", block): 32 for block in blocks},
        **{("image", stage): 2 * 32 for stage in ("norm", "pool")},
        **{("image", block): 4 * 32 for block in blocks},
    }
    assert of("vpt-deep", tokens=3) == {("image", block): 3 * 32 for block in blocks}
    assert of("vpt-shallow", tokens=3) == {("image", "block.0"): 3 * 32}
    # Tokens of half the width, and the projection that all blocks share, listed at the first.
    assert of("vpt-deep", tokens=3, projection=16) == {
        ("image", "block.0"): 3 * 16 + 16 * 32 + 32,
        **{("image", block): 3 * 16 for block in blocks[1:]},
    }
    assert of("coop", per_class=True) == {("text", "block.0"): 3 * 16 * 32}
    assert of("clip-adapter") == {("image", "head"): 2 * 16 * 4}
    assert of("taskres") == {("text", "head"): 3 * 16}
    assert of("linear-probe") == {("both", "head"): 3 * 17}
    assert of("tip-adapter-f") == {("both", "head"): 12 * 16}


class Bottleneck(nn.Module):
    """Stands beside what it wraps, and cannot be merged."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(32, 2, bias=False)
        self.up = nn.Linear(2, 32, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x).relu())


class Unseen(Head):
    """Has tensors in a block, before a block, on the class embeddings and in the decision."""

    def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
        super().__init__(model, classes)
        model.inject("vision_model.encoder.layers.2.mlp", Bottleneck)
        model.unfreeze("text_model.encoder.layers.0.layer_norm1.bias")
        self.shift = nn.Parameter(torch.ones(32))
        self.scale = nn.Parameter(torch.ones(16))
        self.bias = nn.Parameter(torch.zeros(3))
        model.add_hook(model.text, "block.3", self._move)

    def _move(self, x: Tensor, rows: TokenBatch | None) -> Tensor:
        return x + self.shift

    def text(self, w: Tensor, names: tuple[str, ...]) -> Tensor:
        return w * self.scale

    def forward(self, images: object, classes: object) -> object:
        output = super().forward(images, classes)
        return type(output)(output.logits + self.bias, output.image, output.text)


def test_a_strategy_that_nobody_has_seen_is_placed_as_well(backbone: Path) -> None:
    found = map_parameters(Unseen(tiny_clip(backbone), CLASSES).eval(), CLASSES)
    assert places(found) == {
        ("text", "block.0"): 32,
        ("text", "block.3"): 32,
        ("text", "head"): 16,
        ("image", "block.2"): 2 * 2 * 32,
        ("both", "head"): 3,
    }
    groups = {part.name.rpartition(".")[2]: part.group for part in found.tuned if part.added}
    assert groups == {"weight": "adapters", "shift": "prompts", "scale": "adapters",
                      "bias": "adapters"}  # fmt: skip
    assert found.own_decision


@pytest.mark.parametrize(
    "strategy", [ClipLora(rank=4, alpha=2.0), ClipFit(), VptDeep(tokens=2)], ids=lambda s: s.name()
)
def test_the_diagram_of_a_run_counts_as_its_record_does(strategy: object, tuned: Tuned) -> None:
    run = tuned(strategy)
    facts = diagram.of_run(run).facts()
    assert facts["trained_parameters"] == run.record["cost"]["trained_parameters"]
    assert sum(s["trained_parameters"] for s in facts["stages"]) == facts["trained_parameters"]


def test_the_picture_is_well_formed_says_what_it_shows_and_is_repeatable(
    backbone: Path, tmp_path: Path
) -> None:
    subject = diagram.of_model(VptDeep(), tiny_clip(backbone))
    for place in ("a", "b"):
        diagram.analyse(subject, tmp_path / place, "diagram-vpt-deep")
    for suffix in ("svg", "pdf", "json"):
        name = f"diagram-vpt-deep.{suffix}"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    root = ET.fromstring((tmp_path / "a" / "diagram-vpt-deep.svg").read_text())
    desc = root.find("{http://www.w3.org/2000/svg}desc")
    assert desc is not None
    assert desc.text == subject.words()
    assert "image block.3 256" in subject.words()
