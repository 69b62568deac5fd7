"""Trained parameters on the true sizes of CLIP, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from fewtune.backbones.clip import ClipImageTower, ClipTextTower
from fewtune.core.preprocess import Preprocess
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.strategy import Strategy
from fewtune.strategies.clip_adapter import ClipAdapter
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.clipfit import ClipFit
from fewtune.strategies.coop import CoOp
from fewtune.strategies.linear_probe import LinearProbe
from fewtune.strategies.taskres import TaskRes
from fewtune.strategies.tip_adapter import TipAdapter
from fewtune.strategies.tip_adapter_f import TipAdapterF
from fewtune.strategies.vpt_deep import VptDeep
from fewtune.strategies.vpt_shallow import VptShallow

CLASSES = ClassSet(("cat", "dog", "bird"), counts=(16, 16, 16))
SIZES = {
    "ViT-B/16": (768, 12, 12, 16, 512, 8, 512),
    "ViT-B/32": (768, 12, 12, 32, 512, 8, 512),
    "ViT-L/14": (1024, 24, 16, 14, 768, 12, 768),
}


class NoTokens:
    """A token per word, in the place of a tokenizer."""

    context = 77

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        ends = [len(text.replace(".", " .").split()) + 1 for text in texts]
        return torch.zeros(len(texts), max(ends) + 1, dtype=torch.long), torch.tensor(ends)


def backbone(name: str) -> DualEncoder:
    """A CLIP of the published size on the meta device."""
    width, layers, heads, patch, text_width, text_heads, joint = SIZES[name]
    config = CLIPConfig(
        text_config={
            "hidden_size": text_width,
            "intermediate_size": 4 * text_width,
            "num_hidden_layers": 12,
            "num_attention_heads": text_heads,
        },
        vision_config={
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "patch_size": patch,
        },
        projection_dim=joint,
    )
    with torch.device("meta"):
        net: Any = CLIPModel(config)
    return DualEncoder(
        net,
        ClipImageTower(net),
        ClipTextTower(net),
        NoTokens(),
        dim=joint,
        logit_scale=100.0,
        preprocess=Preprocess(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        name=name,
        revision="none",
    )


LINEAR = 3 * 512 + 3


@pytest.mark.parametrize(
    ("name", "strategy", "count"),
    [
        ("ViT-B/16", ClipLora(), 184_320),
        ("ViT-B/32", ClipLora(), 184_320),
        ("ViT-B/16", ClipLora(rank=4), 368_640),
        ("ViT-B/16", ClipLora(matrices="qkvo"), 245_760),
        ("ViT-B/16", ClipLora(matrices="qqkvv"), 184_320),
        ("ViT-L/14", ClipLora(), 405_504),
        ("ViT-B/16", ClipLora(encoder="vision"), 110_592),
        ("ViT-B/16", ClipLora(encoder="text"), 73_728),
        ("ViT-B/16", ClipLora(encoder="vision", position="up"), 110_592 // 3),
        ("ViT-L/14", ClipLora(encoder="vision", position="half-up"), 24 * 6 * 1024),
        ("ViT-B/16", ClipFit(regulariser="none"), 46_080),
        ("ViT-B/32", ClipFit(regulariser="squared"), 46_080),
        ("ViT-B/16", ClipFit(), 46_080),
        ("ViT-L/14", ClipFit(), 111_616),
        ("ViT-B/16", ClipAdapter(), 131_072),
        ("ViT-L/14", ClipAdapter(), 2 * 768 * 192),
        ("ViT-B/16", VptDeep(tokens=1), 9_216),
        ("ViT-B/16", VptDeep(tokens=50), 50 * 9_216),
        ("ViT-B/16", VptDeep(tokens=8, depth=9), 8 * 9 * 768),
        ("ViT-L/14", VptDeep(tokens=4), 4 * 24 * 1024),
        ("ViT-B/16", VptShallow(tokens=10), 7_680),
        ("ViT-B/16", VptDeep(tokens=2, projection=64), 2 * 12 * 64 + 64 * 768 + 768),
        ("ViT-B/16", ClipLora(type="vision"), 110_592 + LINEAR),
        ("ViT-B/16", ClipFit(type="vision"), 39_936 + LINEAR),
        ("ViT-B/16", ClipAdapter(type="vision"), 131_072 + LINEAR),
        ("ViT-B/16", VptDeep(type="vision", tokens=1), 9_216 + LINEAR),
        ("ViT-B/16", LinearProbe(), LINEAR),
        ("ViT-B/16", CoOp(), 8_192),
        ("ViT-L/14", CoOp(tokens=4), 4 * 768),
        ("ViT-B/16", CoOp(per_class=True), 3 * 8_192),
        ("ViT-B/16", TaskRes(), 3 * 512),
        ("ViT-B/16", TipAdapter(), 0),
        ("ViT-B/16", TipAdapterF(), 48 * 512),
    ],
)
def test_trained_parameters(name: str, strategy: Strategy, count: int) -> None:
    model = backbone(name)
    before = sum(parameter.numel() for parameter in model.net.parameters())
    head = strategy.attach(model, CLASSES)
    trained = dict(head.trainable())
    assert sum(parameter.numel() for parameter in trained.values()) == count
    fixed = {f"head.{name}" for name, _ in head.named_buffers()}
    assert sum(v.numel() for name, v in head.saved().items() if name not in fixed) == count
    others = [p for p in model.net.parameters() if p.requires_grad]
    assert {id(p) for p in others} <= {id(p) for p in trained.values()}
    if strategy.type == "vision":
        assert not any("text" in key for key in trained)
        added = sum(p.numel() for n, p in model.net.named_parameters() if n.startswith("text"))
        fresh = backbone(name).net
        assert added == sum(p.numel() for n, p in fresh.named_parameters() if n.startswith("text"))
    assert before <= sum(parameter.numel() for parameter in model.net.parameters())
