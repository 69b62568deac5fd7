"""Development scores of the text tower, next to those of the map that it learned from.

Photos are Tiny ImageNet's validation part as the image teacher sees them, and one of each ImageNet
class. No set of the card is looked at here.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from pretraining.photo.text_nouns import PHOTO
from pretraining.photo.text_tower import text_features
from pretraining.photo.text_train import Texts, encode, padded
from pretraining.picto import checkpoint

CHUNK = 512


@dataclass(frozen=True)
class Development:
    """Unit embeddings (N, D) of photos, their classes (N,), and the name of each class."""

    embeddings: torch.Tensor
    labels: torch.Tensor
    names: list[str]

    @classmethod
    def read(cls, path: Path) -> "Development":
        """Reads what `save` has written."""
        groups, facts = checkpoint.load(path)
        return cls(**groups["photos"], names=facts["names"])

    def save(self, path: Path) -> None:
        """Writes one file."""
        tensors = {"embeddings": self.embeddings, "labels": self.labels}
        checkpoint.save(path, {"photos": tensors}, {"names": self.names})

    def accuracy(self, vectors: torch.Tensor) -> float:
        """Zero-shot accuracy in per cent with unit vectors (C, D) of the classes."""
        right = (self.embeddings @ vectors.T).argmax(dim=1) == self.labels
        return 100 * right.float().mean().item()


@torch.no_grad()
def embed(
    model: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer, texts: list[str]
) -> torch.Tensor:
    """Unit vectors (N, D) in single precision."""
    config = model.config
    ids = encode(tokenizer, texts, config.max_position_embeddings)
    parts = [
        text_features(model, padded(ids[at : at + CHUNK], config.eos_token_id))
        for at in range(0, len(ids), CHUNK)
    ]
    return torch.cat(parts)


def scores(
    model: CLIPTextModelWithProjection,
    tokenizer: CLIPTokenizer,
    texts: Texts,
    mapped: torch.Tensor,
    sets: dict[str, Development],
) -> dict[str, float]:
    """Zero-shot of tower, targets and map (N, D of each noun), and how nouns are understood.

    `held-out` are concrete nouns that were in no training text, `trained` is as many others; both
    are said in the phrase of the zero-shot test.
    """
    row_of = {name: row for row, name in enumerate(texts.names)}
    found: dict[str, float] = {}
    for key, photos in sets.items():
        rows = [row_of[name] for name in photos.names]
        said = embed(model, tokenizer, [PHOTO.format(name) for name in photos.names])
        found[f"{key}, map"] = photos.accuracy(mapped[rows])
        found[f"{key}, targets"] = photos.accuracy(texts.targets[rows])
        found[f"{key}, tower"] = photos.accuracy(said)
    held_out = torch.from_numpy(texts.held_out).nonzero().flatten()
    others = torch.from_numpy((texts.kinds == 2) & ~texts.held_out).nonzero().flatten()
    step = max(1, len(others) // max(1, len(held_out)))
    for key, at in (("held-out", held_out), ("trained", others[::step])):
        said = embed(model, tokenizer, [PHOTO.format(texts.names[row]) for row in at.tolist()])
        targets = texts.targets[at]
        found[f"{key}, cosine"] = (said * targets).sum(dim=1).mean().item()
        same = (said @ texts.classes.T).argmax(dim=1) == (targets @ texts.classes.T).argmax(dim=1)
        found[f"{key}, same nearest class"] = 100 * same.float().mean().item()
    return found
