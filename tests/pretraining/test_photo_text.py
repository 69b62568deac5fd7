"""The text tower of photo: its nouns, the map that it learns from, its training and export."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from pretraining.photo.text_development import labelled, tiny_rows
from pretraining.photo.text_evaluate import Development, embed, scores
from pretraining.photo.text_export import export_text
from pretraining.photo.text_map import KernelMap, anchor_texts, class_means
from pretraining.photo.text_minilm import same_length
from pretraining.photo.text_nouns import (
    PHOTO,
    Noun,
    classes_below,
    descriptions,
    nouns,
    plural,
)
from pretraining.photo.text_tower import bag_vectors, build, start_as_bag, text_config
from pretraining.photo.text_train import Lesson, Texts, TextTraining, encode
from pretraining.picto.tokens import write_tokenizer
from pretraining.picto.wordnet import WordNet

DIM, TOKENS = 20, 600
NAMES = [
    f"{colour} {thing}" for colour in ("red", "blue", "old") for thing in ("cat", "dog", "cup")
]

DATA = """\
00000100 05 n 02 feline 0 felid 0 001 ~ 00000200 n 0000 | lithe animals; "as a cat"
00000200 05 n 02 house_cat 0 Felis_domesticus 0 001 @ 00000100 n 0000 | a small pet; "she has one"
00000300 05 n 01 genus_Felis 0 000 | a genus
00000400 18 n 01 Buster_Keaton 0 001 @ 00000100 n 0000 | an actor
00000500 09 n 01 idea 0 000 | a content of the mind
"""
INDEX = """\
buster_keaton n 1 1 @ 1 0 00000400
feline n 1 1 ~ 1 0 00000100
felid n 1 1 ~ 1 0 00000100
felis_domesticus n 1 1 @ 1 0 00000200
genus_felis n 1 0 1 0 00000300
house_cat n 1 1 @ 1 0 00000200
idea n 1 0 1 0 00000500
"""


@pytest.fixture(scope="module")
def cats(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    folder = tmp_path_factory.mktemp("wordnet")
    (folder / "data.noun").write_text(DATA, encoding="ascii")
    (folder / "index.noun").write_text(INDEX, encoding="ascii")
    return WordNet.read(folder)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    return write_tokenizer(
        [PHOTO.format(name) for name in NAMES] * 5, tmp_path_factory.mktemp("tok"), TOKENS, 16
    )


@pytest.fixture(scope="module")
def texts() -> Texts:
    """Nine nouns near one of three classes each, the last in no training text."""
    generator = torch.Generator().manual_seed(0)
    vectors = functional.normalize(torch.randn(len(NAMES), DIM, generator=generator), dim=1)
    tensors = {
        "nouns": vectors.half(),
        "kinds": torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3]),
        "described": torch.tensor([0, 1]),
        "classes": vectors[:3],
    }
    facts = {
        "nouns": NAMES,
        "wider": ["thing"] * len(NAMES),
        "glosses": ["a red animal", "another animal"],
        "quiet": [NAMES[0]],
    }
    return Texts(tensors, facts)


def tower() -> CLIPTextModelWithProjection:
    return build(text_config(TOKENS, width=32, blocks=1, dim=DIM))


def test_wordnet_reads_meanings_and_tells_latin_and_proper_names(cats: WordNet) -> None:
    assert cats.synsets[200].gloss == "a small pet"
    assert cats.common == {"feline", "felid", "house cat", "idea"}


def test_nouns_have_the_sense_nearest_to_the_classes(cats: WordNet) -> None:
    found = {noun.name: noun for noun in nouns(cats, [200], ["Tabby"])}
    assert found["tabby"] == Noun("tabby", 200, 0)
    assert found["felis domesticus"] == Noun("felis domesticus", 200, 0)
    assert found["feline"] == Noun("feline", 100, 1)
    assert found["idea"].kind == 3
    assert not {"genus felis", "buster keaton"} & set(found)


def test_a_hypernym_covers_the_classes_below(cats: WordNet) -> None:
    assert classes_below(cats, [200]) == {200: {200}, 100: {200}}


def test_things_are_described_with_meaning_and_hypernym(cats: WordNet) -> None:
    assert descriptions(cats, Noun("house cat", 200, 0)) == [
        "a photo of a house cat.",
        "house cat: a small pet",
        "a photo of a house cat, a type of feline.",
    ]
    assert descriptions(cats, Noun("idea", 500, 3)) == ["a photo of a idea."]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cat", "cats"), ("box", "boxes"), ("cherry", "cherries"), ("toy", "toys")],
)
def test_plurals_are_regular(name: str, expected: str) -> None:
    assert plural(name) == expected


def test_anchors_of_a_hypernym_stand_for_its_classes(cats: WordNet) -> None:
    anchors = dict(anchor_texts(cats, [200, 500], ["tabby", "notion"]))
    assert anchors["tabby"] == anchors["a photo of a feline."] == (0,)
    assert anchors["notion: a content of the mind"] == (1,)
    means = class_means(torch.eye(2), [(0,), (0, 1)])
    torch.testing.assert_close(means[1], torch.tensor([0.5, 0.5]).sqrt())


def test_the_map_is_kernel_ridge_regression() -> None:
    generator = torch.Generator().manual_seed(1)
    anchors = functional.normalize(torch.randn(30, 12, generator=generator), dim=1)
    targets = functional.normalize(torch.randn(30, DIM, generator=generator), dim=1)
    probes = functional.normalize(torch.randn(5, 12, generator=generator), dim=1)
    kernel = np.exp(2 * (anchors @ anchors.T - 1).double().numpy())
    mean = targets.mean(dim=0)
    weights = np.linalg.solve(kernel + np.eye(30), (targets - mean).double().numpy())
    expected = np.exp(2 * (probes @ anchors.T - 1).double().numpy()) @ weights + mean.numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = KernelMap.fit(anchors, targets)(probes, chunk=2)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_texts_of_one_length_go_together() -> None:
    assert same_length([3, 2, 3, 3, 2], 2) == [[1, 4], [0, 2], [3]]


def test_the_fresh_tower_says_the_mean_of_its_tokens(
    texts: Texts, tokenizer: CLIPTokenizer
) -> None:
    ids = [row[1:-1] for row in encode(tokenizer, NAMES, 16)]
    vectors = bag_vectors(ids, texts.targets, np.ones(len(NAMES)), TOKENS)
    model = tower()
    start_as_bag(model, vectors)
    bags = functional.normalize(torch.stack([vectors[row].mean(dim=0) for row in ids]), dim=1)
    assert (bags * texts.targets).sum(dim=1).mean() > 0.6
    assert (embed(model, tokenizer, NAMES) * bags).sum(dim=1).min() > 0.9


def test_quiet_nouns_are_never_said_in_the_phrase_of_the_test(texts: Texts) -> None:
    said = [texts.draw(64, np.random.default_rng(seed)) for seed in range(20)]
    spoken = {text for some, _ in said for text in some}
    assert PHOTO.format(NAMES[0]) not in spoken
    assert {NAMES[0], PHOTO.format(NAMES[1]), "another animal"} <= spoken


def test_held_out_nouns_are_never_drawn(texts: Texts) -> None:
    texts = copy.copy(texts)
    texts.held_out = np.arange(len(NAMES)) == 1
    texts.weights = np.where(texts.held_out, 0, texts.weights)
    rows = torch.cat([texts.draw(64, np.random.default_rng(seed))[1] for seed in range(20)])
    assert set(rows.tolist()) == set(range(len(NAMES))) - {1}


def training(texts: Texts, tokenizer: CLIPTokenizer, until: int) -> TextTraining:
    return TextTraining(texts, tokenizer, tower(), Lesson(until, decay=4, batch=12, parts=2))


def test_training_resumes_as_if_it_had_not_stopped(
    texts: Texts, tokenizer: CLIPTokenizer, tmp_path: Path
) -> None:
    whole = training(texts, tokenizer, 6)
    whole.run(tmp_path / "whole.safetensors")
    half = training(texts, tokenizer, 6)
    for _ in range(3):
        half.one_step()
    half.save(tmp_path / "half.safetensors")
    rest = training(texts, tokenizer, 6)
    rest.load(tmp_path / "half.safetensors")
    rest.run(tmp_path / "rest.safetensors")
    first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "rest"))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=0)


def test_training_learns_the_vectors(texts: Texts, tokenizer: CLIPTokenizer) -> None:
    run = training(texts, tokenizer, 200)
    losses = [run.one_step() for _ in range(80)]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])


def test_scores_set_the_tower_next_to_the_map(texts: Texts, tokenizer: CLIPTokenizer) -> None:
    texts = copy.copy(texts)
    texts.held_out = np.arange(len(NAMES)) == 7
    photos = Development(texts.targets[:3], torch.arange(3), NAMES[:3])
    found = scores(tower(), tokenizer, texts, texts.targets, {"own": photos})
    assert found["own, map"] == found["own, targets"] == 100
    assert {"own, tower", "held-out, cosine"} <= set(found)


def test_development_photos_are_read_back(tmp_path: Path) -> None:
    photos = Development(torch.eye(3), torch.arange(3), ["a", "b", "c"])
    photos.save(tmp_path / "photos.safetensors")
    again = Development.read(tmp_path / "photos.safetensors")
    assert again.names == photos.names
    assert again.accuracy(torch.eye(3).roll(1, 0)) == 0


def test_every_second_validation_photo_of_a_class_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    lines = [f"val_{at}.JPEG\tn0000000{2 - at % 2}\t0\t0\t9\t9" for at in range(8)]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines), encoding="utf-8")
    rows = tiny_rows(tmp_path)
    assert [(synset, path.name) for synset, path in rows] == [
        (1, "val_1.JPEG"),
        (1, "val_5.JPEG"),
        (2, "val_0.JPEG"),
        (2, "val_4.JPEG"),
    ]
    assert labelled([2, 2, 7], [7, 1, 2], ["Tench", "Cock", "Hen"]) == ([1, 1, 0], ["tench", "hen"])


def test_plain_transformers_loads_the_export(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    model = tower()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    export_text(model, tmp_path / "tokenizer", tmp_path / "text")
    config = CLIPTextConfig.from_json_file(tmp_path / "text" / "text_config.json")
    loaded = CLIPTextModelWithProjection(config)
    loaded.load_state_dict(load_file(tmp_path / "text" / "text.safetensors"))
    rows = AutoTokenizer.from_pretrained(tmp_path / "text")(
        NAMES, padding=True, return_tensors="pt"
    )
    expected = embed(model, tokenizer, NAMES)
    found = functional.normalize(loaded(input_ids=rows["input_ids"]).text_embeds, dim=1)
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)
