"""The embedded model of pictograms: loads in plain transformers, keeps its shapes, and has a card.

Nothing here says how skilled it is: better weights must not break a test.
"""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

from pretraining.picto.card import table, tuned, verdict
from pretraining.picto.pins import TEXTS, drawn_images
from pretraining.picto.tuned import score_of

ASSETS = Path(__file__).parents[2] / "src" / "fewtune" / "assets" / "picto"
MIB = 2**20


def test_plain_transformers_pools_at_the_end_of_text() -> None:
    model = CLIPModel.from_pretrained(ASSETS, dtype=torch.float32).eval()
    rows = AutoTokenizer.from_pretrained(ASSETS)(list(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        output = model.text_model(**rows)
    last = rows["attention_mask"].sum(dim=1) - 1
    assert len(set(last.tolist())) > 1
    expected = output.last_hidden_state[torch.arange(len(TEXTS)), last]
    torch.testing.assert_close(output.pooler_output, expected)


def test_shapes_that_methods_rely_on() -> None:
    model = CLIPModel.from_pretrained(ASSETS)
    assert model.dtype == torch.float16
    assert model.config.text_config.max_position_embeddings >= 32
    assert model.config.vision_config.num_hidden_layers >= 6
    assert model.config.text_config.eos_token_id != 2
    pixels = CLIPImageProcessor.from_pretrained(ASSETS)(list(drawn_images()), return_tensors="pt")
    assert pixels["pixel_values"].shape == (3, 3, 48, 48)


def test_the_folder_is_small_and_says_where_it_is_from() -> None:
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) < 24 * MIB
    sources = (ASSETS / "SOURCES").read_text(encoding="utf-8")
    assert "CC-BY-4.0" in sources
    assert "SA-4.0" not in sources
    assert "NC-4.0" not in sources


def test_the_card_shows_the_measured_numbers() -> None:
    results = json.loads((ASSETS / "results.json").read_text(encoding="utf-8"))["results"]
    card = (ASSETS / "README.md").read_text(encoding="utf-8")
    for part in (table(results), verdict(results), tuned(results)):
        assert part in card


def test_scores_of_the_command_become_percent_and_rows() -> None:
    printed = json.dumps({"record": {"metrics": {"top1": 0.25}}})
    rows = tuned({"tuned": {"clip-lora": {"16": score_of(printed)}}})
    assert "| clip-lora | - | - | 25.0 |" in rows


@pytest.mark.parametrize(("score", "said"), [(36.0, "35: reached"), (30.5, "missed by 4.5 points")])
def test_a_bar_is_reached_or_missed_by_so_much(score: float, said: str) -> None:
    assert said in verdict({"fashion": {"picto": {"zero_shot": score}}})


def test_the_bar_of_clip_lora_counts_shortened_runs() -> None:
    tuned_scores = {"clip-lora, 0.02 of its steps": {"16": 74.0}}
    results = {"fashion": {"raw pixels": {"16_shot": 70.0}}, "tuned": tuned_scores}
    assert "16-shot CLIP-LoRA above raw pixels, bar 5: missed by 1.0 points." in verdict(results)
