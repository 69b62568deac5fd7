"""Which pictures may be trained on, and what words and captions they get."""

import random
from pathlib import Path

import numpy as np
import pytest

from pretraining.picto import hashing
from pretraining.picto.captions import caption
from pretraining.picto.drawing import encode_colour, pack_nibbles, rasterise, svg_of, unpack_nibbles
from pretraining.picto.drawings import Drawings
from pretraining.picto.heldout import HELD_OUT_SETS, NOUNS
from pretraining.picto.licences import OTHER_SOURCES, attribution, refusal, sources_text
from pretraining.picto.names import BrandFilter, base_name, is_skin_tone, phrase
from pretraining.picto.pack import Pack, read_pack, write_pack
from pretraining.picto.render import choose_names
from pretraining.picto.scenes import training_scenes
from pretraining.picto.wordnet import WordNet
from pretraining.picto.words import describe, describe_scene


def _bits(seed: int, flipped: int = 0) -> np.ndarray:
    bits = np.random.default_rng(seed).random(256) < 0.5
    bits[:flipped] ^= True
    return bits


@pytest.mark.parametrize(("flipped", "near"), [(0, True), (4, True), (5, False)])
def test_a_hash_is_near_within_four_bits(flipped: int, near: bool) -> None:
    references = np.stack([_bits(7), _bits(8)])
    assert hashing.near_any(_bits(8, flipped)[None], references).tolist() == [near]


def test_pictures_near_a_held_out_one_are_dropped_with_their_texts() -> None:
    drawings = Drawings("own")
    for top in (4, 20, 36):
        pixels = np.zeros((48, 48, 4), np.uint8)
        pixels[top : top + 6, 4:44, 3] = 255
        drawings.add(pixels, f"bar at {top}", colour=False)
    reference = drawings.inks["mono"][1].copy()
    reference[:3] ^= True
    assert drawings.drop_near(reference[None]) == 1
    assert drawings.texts["mono"] == ["bar at 4", "bar at 36"]
    assert len(drawings.mono) == len(drawings.inks["mono"]) == 2


@pytest.mark.parametrize(
    ("prefix", "spdx", "category", "reason"),
    [
        ("mdi", "Apache-2.0", "Material", None),
        ("game-icons", "CC-BY-3.0", "Thematic", None),
        ("openmoji", "CC-BY-SA-4.0", "Emoji", "licence CC-BY-SA-4.0"),
        ("ps", "CC-BY-NC-4.0", None, "licence CC-BY-NC-4.0"),
        ("gala", "GPL-3.0", None, "licence GPL-3.0"),
        ("unknown", None, None, "licence None"),
        ("simple-icons", "CC0-1.0", "Logos", "logos"),
        ("fa7-brands", "CC-BY-4.0", "UI", "logos"),
    ],
)
def test_sets_are_refused_by_licence_and_by_logos(
    prefix: str, spdx: str | None, category: str | None, reason: str | None
) -> None:
    info = {"license": {"spdx": spdx}, "category": category}
    assert refusal(prefix, info) == reason


def test_held_out_families_contain_the_sets_that_share_their_artwork() -> None:
    assert {"fa-solid", "fa6-solid", "fa7-solid", "la", "ph", "twemoji"} <= HELD_OUT_SETS
    assert len(set(NOUNS)) == 100


def test_brands_go_by_name_and_ambiguous_ones_only_from_sets_with_logos() -> None:
    brands = BrandFilter(["gitlab", "apple", "x-logo", "acme-corp"], dictionary=["apple"])
    assert brands.is_brand("gitlab-mark")
    assert brands.is_brand("logo-anything")
    assert brands.is_brand("acme-corp")
    assert brands.keep(["apple", "pear"]) == {"apple", "pear"}
    logos = [f"gitlab-{n}" for n in "abcde"]
    assert brands.keep(["apple", "pear", *logos]) == {"pear"}


@pytest.mark.parametrize(
    ("name", "suffixes", "base", "text"),
    [
        ("shoe-running-outline-rounded", ["outline-rounded"], "shoe-running", "shoe running"),
        ("clipboard-data-bar-32-regular", ["32-regular"], "clipboard-data-bar", None),
        ("outline-home", [], "home", "home"),
        ("file-03", [], "file", "file"),
    ],
)
def test_names_lose_their_style(
    name: str, suffixes: list[str], base: str, text: str | None
) -> None:
    assert base_name(name, suffixes) == base
    assert phrase(base) == (text or base.replace("-", " "))


def test_skin_tones_repeat_and_dark_things_do_not() -> None:
    assert is_skin_tone("wave-medium-dark-skin-tone")
    assert not is_skin_tone("moon-dark")


def test_few_variants_of_a_base_name_are_drawn() -> None:
    icons = {
        "suffixes": {str(n): str(n) for n in range(9)},
        "icons": {f"cat-{n}": {} for n in range(9)} | {"gitlab": {}, "gone": {"hidden": True}},
    }
    chosen = choose_names(icons, BrandFilter(["gitlab"], []), seed=0)
    assert len(chosen) == 3
    assert {text for _, text in chosen} == {"cat"}


def test_words_weigh_names_above_synonyms_above_hypernyms(net: WordNet) -> None:
    entry = describe("sweaters", net, {"sweaters": ["wool knit"]})
    assert entry["words"]["sweater"] == 1.0
    assert entry["words"]["sweater"] > entry["words"]["jumper"] > entry["words"]["garment"]
    assert {"wool", "knit"} <= set(entry["words"])
    assert entry["related"]["sweater"]["narrower"] == ["pullover"]


def test_abstract_nouns_get_no_neighbours(net: WordNet) -> None:
    assert describe("idea", net, {}) == {"text": "idea", "words": {"idea": 1.0}}


def test_captions_speak_of_the_name_and_its_neighbours_and_repeat_by_seed(net: WordNet) -> None:
    entry = describe("sweater", net, {"sweater": ["knitwear"]})
    texts = [caption(entry, random.Random(seed)) for seed in range(300)]
    for word in ("sweater", "jumper", "pullover", "garment", "knitwear", "photo of a"):
        assert any(word in text for text in texts), word
    assert texts == [caption(entry, random.Random(seed)) for seed in range(300)]
    assert not any("{" in text for text in texts)


def test_long_names_are_shortened_in_order() -> None:
    name = "one two three four five six seven eight nine ten"
    for seed in range(20):
        words = caption({"text": name, "words": {}}, random.Random(seed)).strip(".").split()
        named = [name.split().index(word) for word in words if word in name.split()]
        assert len(named) <= 6
        assert named == sorted(named)


def test_sources_name_author_licence_and_address() -> None:
    info = {
        "name": "Icons",
        "author": {"name": "A. Uthor", "url": "https://a.example"},
        "license": {"spdx": "CC-BY-4.0"},
    }
    text = sources_text([attribution("icons", info, 7), *OTHER_SOURCES])
    assert "Icons (icons), by A. Uthor, 7 pictures\n  CC-BY-4.0, https://a.example\n" in text
    assert text.index("Icons (icons)") < text.index("WordNet")


def test_scenes_leave_out_the_held_out_pairs_and_name_their_factors() -> None:
    scenes = training_scenes(400, seed=1)
    assert not any(scene.held_out for scene in scenes)
    for scene in scenes:
        assert set(describe_scene(scene.caption())["words"]) == set(scene.words())


def test_nibbles_and_packs_survive_a_round_trip(pack: Pack, tmp_path: Path) -> None:
    levels = np.arange(16, dtype=np.uint8).reshape(2, 8)
    np.testing.assert_array_equal(unpack_nibbles(pack_nibbles(levels)), levels)
    write_pack(pack, tmp_path / "train.zip")
    again = read_pack(tmp_path / "train.zip")
    np.testing.assert_array_equal(again.masks(), pack.masks())
    np.testing.assert_array_equal(again.palette, pack.palette)
    assert again.phrases == pack.phrases
    assert [path.name for path in tmp_path.iterdir()] == ["train.zip"]


def test_colours_are_kept_and_index_zero_is_transparent() -> None:
    pixels = np.zeros((48, 48, 4), np.uint8)
    pixels[10:30, 10:30] = (200, 30, 40, 255)
    packed, palette = encode_colour(pixels)
    levels = unpack_nibbles(packed).reshape(48, 48)
    assert (levels[:10] == 0).all()
    np.testing.assert_allclose(palette[levels[20, 20]], (200, 30, 40), atol=2)


def test_an_icon_that_is_not_square_is_centred() -> None:
    icon = {"body": '<rect width="10" height="20" fill="currentColor"/>', "width": 10}
    alpha = rasterise(svg_of(icon, {"height": 20}))[..., 3]
    assert (alpha[:, :11] == 0).all()
    assert (alpha[:, 14:34] == 255).all()
    assert (alpha[:, 37:] == 0).all()
