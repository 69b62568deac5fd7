"""Captions of pictures: names in templates, with tags and dictionary neighbours mixed in."""

import random
from collections.abc import Iterator
from typing import Any

TEMPLATES = (
    "{}",
    "{}",
    "{}",
    "a {}",
    "a {}.",
    "an icon of a {}",
    "a pictogram of a {}",
    "a {} icon",
    "a photo of a {}.",
    "a photo of a {}",
    "a picture of a {}.",
    "a drawing of a {}.",
    "a black and white photo of a {}.",
    "a symbol of a {}",
    "a photo of the {}.",
    "itap of a {}.",
)
WITH_KIND = ("a photo of a {}, a type of {}.", "{}, a kind of {}", "a {} is a {}")
SCENE_TEMPLATES = ("{}", "{}", "a picture of {}", "a drawing of {}.")
LONGEST_NAME = 6
# Shares of captions that speak of something else than the name itself.
TAG_SHARE, SAME_SHARE, NARROWER_SHARE, WIDER_SHARE, KIND_SHARE = 0.2, 0.15, 0.08, 0.05, 0.15


def _swap(text: str, related: dict[str, dict[str, list[str]]], key: str, rng: random.Random) -> str:
    """The text with one noun replaced by a neighbour of this kind, if it has one."""
    nouns = [noun for noun, near in related.items() if key in near and noun in text]
    if not nouns:
        return text
    noun = rng.choice(nouns)
    return text.replace(noun, rng.choice(related[noun][key]), 1)


def _shorten(text: str, rng: random.Random) -> str:
    """At most six words: longer names are lists of tags, of which some are kept in their order."""
    words = text.split()
    if len(words) <= LONGEST_NAME:
        return text
    return " ".join(words[at] for at in sorted(rng.sample(range(len(words)), LONGEST_NAME)))


def caption(phrase: dict[str, Any], rng: random.Random) -> str:
    """One caption of a phrase of a pack, drawn at random."""
    text: str = phrase["text"]
    if phrase.get("scene"):
        return rng.choice(SCENE_TEMPLATES).format(text)
    related, tags = phrase.get("related", {}), phrase.get("tags", [])
    draw = rng.random()
    for key, share in (
        ("tags", TAG_SHARE),
        ("same", SAME_SHARE),
        ("narrower", NARROWER_SHARE),
        ("wider", WIDER_SHARE),
    ):
        draw -= share
        if draw < 0:
            if key != "tags":
                text = _swap(text, related, key, rng)
            elif tags:
                text = rng.choice(tags)
            break
    wider = related.get(text, {}).get("wider")
    if wider and rng.random() < KIND_SHARE:
        return rng.choice(WITH_KIND).format(_shorten(text, rng), rng.choice(wider))
    return rng.choice(TEMPLATES).format(_shorten(text, rng))


def vocabulary_texts(phrases: list[dict[str, Any]]) -> Iterator[str]:
    """All texts that captions can be made of, for training the tokenizer."""
    for phrase in phrases:
        yield phrase["text"]
        yield from phrase.get("tags", [])
        for near in phrase.get("related", {}).values():
            for words in near.values():
                yield from words
    for template in (*TEMPLATES, *WITH_KIND, *SCENE_TEMPLATES):
        yield from [template.replace("{}", "")] * 100
