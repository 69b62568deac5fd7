"""Nouns of WordNet: the sense that a photograph would show, and the texts about it."""

import random
from collections import defaultdict
from dataclasses import dataclass

from pretraining.picto.wordnet import CONCRETE_FILES, WordNet

# Of a hypernym with more ImageNet classes than this, no picture comes to mind ("entity").
MOST_CLASSES = 150
LONGEST_NOUN = 5  # words
SENSES = 3  # a rarer sense than the third is not looked at
PERSON_FILE, SUBSTANCE_FILE = 18, 27
PHOTO = "a photo of a {}."
TEMPLATES = (
    "a {}",
    "a {}.",
    "the {}",
    "a photo of {}",
    "a photo of a {}",
    "a photo of the {}.",
    "a picture of a {}.",
    "a bad photo of a {}.",
    "a good photo of a {}.",
    "a photo of many {}.",
    "a photo of a small {}.",
    "a photo of a large {}.",
    "a close-up photo of a {}.",
    "a cropped photo of the {}.",
    "a blurry photo of a {}.",
    "a black and white photo of the {}.",
    "a photo of one {}.",
    "a photo of my {}.",
    "itap of a {}.",
    "an image of a {}",
    "this is a {}.",
)
KIND_TEMPLATES = ("a photo of a {}, a type of {}.", "{}, a kind of {}", "a {} is a {}")


@dataclass(frozen=True)
class Noun:
    """A name with its synset; `kind` tells how near it is to ImageNet's classes.

    0: a class, 1: a hypernym of classes, 2: another concrete noun, 3: an abstract one.
    """

    name: str
    synset: int
    kind: int


def classes_below(net: WordNet, classes: list[int]) -> dict[int, set[int]]:
    """For every class and every hypernym of one: the classes that it covers."""
    below: defaultdict[int, set[int]] = defaultdict(set)
    for leaf in classes:
        found, queue = {leaf}, [leaf]
        while queue:
            new = set(net.synsets[queue.pop()].hypernyms) - found
            found |= new
            queue.extend(new)
        for synset in found:
            below[synset].add(leaf)
    return dict(below)


def nouns(net: WordNet, classes: list[int], labels: list[str]) -> list[Noun]:
    """The labels of the classes, then the lemmas of WordNet, each name once.

    Proper names and the Latin ones of living things are left out, but for those of classes.
    """
    below = classes_below(net, classes)
    visual = set(CONCRETE_FILES) | {SUBSTANCE_FILE}
    found = {
        label.lower(): Noun(label.lower(), at, 0) for label, at in zip(labels, classes, strict=True)
    }
    for name, senses in net.senses.items():
        if len(name.split()) > LONGEST_NOUN or name in found:
            continue
        near = senses[:SENSES]
        leaves = [s for s in senses[: SENSES + 1] if s in below and below[s] == {s}]
        wider = [s for s in near if s in below and len(below[s]) <= MOST_CLASSES]
        concrete = [s for s in near if net.synsets[s].file in visual]
        for kind, candidates in enumerate((leaves, wider, concrete, senses)):
            if candidates and (kind < 2 or name in net.common):
                found[name] = Noun(name, candidates[0], kind)
                break
    return list(found.values())


def wider_name(net: WordNet, noun: Noun) -> str | None:
    """The first word of the noun's hypernym."""
    hypernyms = net.synsets[noun.synset].hypernyms
    return net.synsets[hypernyms[0]].words[0] if hypernyms else None


def descriptions(net: WordNet, noun: Noun) -> list[str]:
    """The texts whose mapped embeddings, averaged, are what the tower learns for a noun.

    The first is the phrase of the zero-shot test. Things also have one with the meaning, and one
    with the hypernym, if there is one.
    """
    synset = net.synsets[noun.synset]
    texts = [PHOTO.format(noun.name)]
    if noun.kind < 3 and synset.file != PERSON_FILE:
        texts.append(f"{noun.name}: {synset.gloss}")
        wider = wider_name(net, noun)
        if wider:
            texts.append(KIND_TEMPLATES[0].format(noun.name, wider))
    return texts


def plural(name: str) -> str:
    """A regular plural, good enough to vary a name."""
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"


def utterance(name: str, wider: str | None, photo: bool, rng: random.Random) -> str:
    """A text that names a noun; without `photo`, never in the phrase of the zero-shot test."""
    draw = rng.random()
    if draw < 0.3:
        return name
    if draw < 0.55 and photo:
        return PHOTO.format(name)
    if draw < 0.62:
        return plural(name)
    if draw < 0.7 and wider:
        return rng.choice(KIND_TEMPLATES).format(name, wider)
    return rng.choice(TEMPLATES).format(name)
