"""The embedded model of photographs: it loads, and has a card.

Nothing here says how skilled it is: better weights must not break a test.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from fewtune.backbones.checkpoint import describe
from pretraining.photo.card import table, verdict

ASSETS = Path(__file__).parents[2] / "src" / "fewtune" / "assets" / "photo"


def test_its_facts_and_size() -> None:
    facts = describe("photo")
    assert (facts.status, facts.licence, facts.patch_px) == ("embedded", "Apache-2.0", 32)
    assert facts.embedding == 384
    assert facts.context is not None
    assert facts.context >= 32
    tensors = load_file(ASSETS / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) < 40 * 10**6


def test_the_card_shows_the_measured_numbers_and_says_what_it_is_not() -> None:
    results = json.loads((ASSETS / "results.json").read_text(encoding="utf-8"))["results"]
    card = (ASSETS / "README.md").read_text(encoding="utf-8")
    assert table(results) in card
    assert verdict(results) in card
    assert "It is not a CLIP of web data." in card
    for source in ("seshuad/IMagenet", "WordNet 3.0", "all-MiniLM-L6-v2"):
        assert source in card
