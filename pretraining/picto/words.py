"""What a phrase says: weighted words for classification, and texts for captions."""

from typing import Any

from pretraining.picto.names import content_words
from pretraining.picto.scenes import COLOURS, COUNTS, PLACES, SHAPES
from pretraining.picto.tags import Tags
from pretraining.picto.wordnet import WordNet

SYNONYM_WEIGHT = 0.5
WIDER_WEIGHT = 0.3
TAG_WEIGHT = 0.3  # of each tag word; all together weigh at most as much as the name
MAX_TAGS = 12

_SCENE_WORDS = {*SHAPES, *COLOURS, *COUNTS, *PLACES, "small", "large", "tilted"}


def describe_scene(caption: str) -> dict[str, Any]:
    """The entry of a scene: its factor words, all of weight 1, and no other texts."""
    singular = {f"{shape}s": shape for shape in SHAPES} | {"crosses": "cross"}
    words = [singular.get(word, word) for word in caption.split()]
    return {"text": caption, "words": {w: 1.0 for w in words if w in _SCENE_WORDS}, "scene": True}


def describe(text: str, net: WordNet, tags: Tags) -> dict[str, Any]:
    """The entry of a phrase of a pack: words and weights, tags, related words of WordNet.

    The whole phrase is looked up first ("running shoe"); then each word of its own.
    """
    own = [net.lemma(word) for word in content_words(text)]
    words = dict.fromkeys(own, 1.0)
    related: dict[str, dict[str, list[str]]] = {}
    for noun in dict.fromkeys([text, net.lemma(text), *own]):
        near = net.related(noun)
        if not near:
            continue
        related[noun] = near
        for key, weight in (("same", SYNONYM_WEIGHT), ("wider", WIDER_WEIGHT)):
            for other in near.get(key, []):
                for word in content_words(other):
                    words[net.lemma(word)] = max(weight, words.get(net.lemma(word), 0.0))
    tagged = tags.get(text, [])[:MAX_TAGS]
    tag_words = {net.lemma(w) for tag in tagged for w in content_words(tag)} - set(own)
    weight = min(TAG_WEIGHT, len(own) / max(len(tag_words), 1))
    for word in sorted(tag_words):
        words[word] = max(weight, words.get(word, 0.0))
    entry: dict[str, Any] = {"text": text, "words": words}
    if tagged:
        entry["tags"] = tagged
    if related:
        entry["related"] = related
    return entry
