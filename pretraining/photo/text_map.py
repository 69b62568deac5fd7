"""From MiniLM embeddings to the image space: kernel ridge regression on ImageNet's names.

The anchors are texts about the 1,000 classes, whose targets are the class vectors of the image
teacher, and about their hypernyms, whose targets are the means of the classes below.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from pretraining.photo.text_nouns import MOST_CLASSES, PHOTO, classes_below
from pretraining.picto.wordnet import WordNet

KERNEL_RATE, RIDGE = 2.0, 1.0  # chosen on 200 held-out classes


def anchor_texts(
    net: WordNet, classes: list[int], labels: list[str]
) -> list[tuple[str, tuple[int, ...]]]:
    """Texts and the rows of `classes` (synsets in the order of the head) that each stands for."""
    row_of = {synset: row for row, synset in enumerate(classes)}
    found = []
    for synset, below in sorted(classes_below(net, classes).items()):
        if len(below) > MOST_CLASSES:
            continue
        entry = net.synsets[synset]
        label = labels[row_of[synset]] if synset in row_of else None
        names = list(dict.fromkeys([*([label] if label else []), *entry.words]))
        texts = names + [PHOTO.format(name) for name in names] + [entry.gloss]
        if label:
            texts.append(f"{label}: {entry.gloss}")
        rows = tuple(sorted(row_of[leaf] for leaf in below))
        found += [(text, rows) for text in texts]
    return found


@dataclass(frozen=True)
class KernelMap:
    """f(e) = mean + sum over anchors of weight * exp(rate (cos(e, anchor) - 1)), normalised."""

    anchors: torch.Tensor
    weights: torch.Tensor
    mean: torch.Tensor

    @classmethod
    def fit(cls, anchors: torch.Tensor, targets: torch.Tensor) -> "KernelMap":
        """`anchors` (N, 384) unit embeddings, `targets` (N, D) unit vectors."""
        anchors, mean = anchors.float(), targets.mean(dim=0)
        kernel = torch.exp(KERNEL_RATE * (anchors @ anchors.T - 1))
        kernel.diagonal().add_(RIDGE)
        factor = torch.linalg.cholesky(kernel.double())
        weights = torch.cholesky_solve((targets - mean).double(), factor).float()
        return cls(anchors, weights, mean)

    def __call__(self, embeddings: torch.Tensor, chunk: int = 4096) -> torch.Tensor:
        """Unit vectors (N, D) of embeddings (N, 384)."""
        parts = [
            torch.exp(KERNEL_RATE * (part.float() @ self.anchors.T - 1)) @ self.weights
            for part in embeddings.split(chunk)
        ]
        return functional.normalize(torch.cat(parts) + self.mean, dim=1)


def class_means(vectors: torch.Tensor, rows: list[tuple[int, ...]]) -> torch.Tensor:
    """Unit means (N, D) of the class vectors (C, D) with these rows."""
    means = torch.stack([vectors[list(some)].mean(dim=0) for some in rows])
    return functional.normalize(means, dim=1)
