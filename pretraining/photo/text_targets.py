"""What the text tower learns: a vector of the image space for every noun and every gloss."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional

from pretraining.photo.text_map import KernelMap, anchor_texts, class_means
from pretraining.photo.text_minilm import MiniLM
from pretraining.photo.text_nouns import descriptions, nouns, wider_name
from pretraining.picto import checkpoint
from pretraining.picto.wordnet import WordNet


def fit_map(
    net: WordNet, classes: list[int], labels: list[str], vectors: torch.Tensor, minilm: MiniLM
) -> KernelMap:
    """The map onto class vectors (C, D), fitted on all anchor texts."""
    anchors = anchor_texts(net, classes, labels)
    targets = class_means(vectors, [rows for _, rows in anchors])
    return KernelMap.fit(minilm.encode([text for text, _ in anchors]), targets)


def write_targets(
    net: WordNet,
    classes: list[int],
    labels: list[str],
    quiet: list[int],
    teacher: Path,
    minilm: Path,
    target: Path,
) -> None:
    """Writes nouns, meanings and their vectors; `teacher` holds `classes` (C, D).

    A noun's vector is the mean of the map over its descriptions, averaged with the class vector if
    it names a class; a meaning's is that of its noun. The nouns of the synsets in `quiet` are
    marked, so as not to be said in the phrase of the zero-shot test.
    """
    encoder, vectors = MiniLM(minilm), load_file(teacher)["classes"].float()
    mapped = fit_map(net, classes, labels, vectors, encoder)
    found = nouns(net, classes, labels)
    texts = [descriptions(net, noun) for noun in found]
    flat = mapped(encoder.encode([text for own in texts for text in own]))
    owner = torch.tensor([row for row, own in enumerate(texts) for _ in own])
    means = torch.zeros(len(found), flat.shape[1]).index_add_(0, owner, flat)
    means = functional.normalize(means, dim=1)
    row_of = {synset: row for row, synset in enumerate(classes)}
    for row, noun in enumerate(found):
        if noun.kind == 0:
            means[row] += vectors[row_of[noun.synset]]
    first = torch.cat([torch.tensor([True]), owner[1:] != owner[:-1]])
    described = [row for row, own in enumerate(texts) if len(own) > 1]
    tensors = {
        "nouns": functional.normalize(means, dim=1).half(),
        "photo": flat[first].half(),  # the map on the phrase of the zero-shot test, to compare with
        "kinds": torch.tensor([noun.kind for noun in found]),
        "described": torch.tensor(described),
        "classes": vectors,
    }
    facts = {
        "nouns": [noun.name for noun in found],
        "synsets": [noun.synset for noun in found],
        "quiet": [noun.name for noun in found if noun.synset in quiet],
        "wider": [wider_name(net, noun) for noun in found],
        "glosses": [net.synsets[found[row].synset].gloss for row in described],
    }
    kinds = [int((tensors["kinds"] == kind).sum()) for kind in range(4)]
    print(f"{len(found)} nouns {kinds}, {len(described)} meanings", flush=True)
    checkpoint.save(target, {"targets": tensors}, facts)
