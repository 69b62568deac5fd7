"""Word targets: each phrase becomes a few words of a vocabulary, with shares that sum to one."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pretraining.picto.pack import Pack

MIN_ICONS = 25
WORDS_PER_PHRASE = 16


@dataclass
class WordTargets:
    """`ids` and `shares` (phrases, 16), padded with share 0, over `vocabulary`."""

    vocabulary: list[str]
    ids: torch.Tensor
    shares: torch.Tensor
    frequency: torch.Tensor  # (V,), sums to one

    @classmethod
    def of(cls, pack: Pack, min_icons: int = MIN_ICONS) -> "WordTargets":
        """The words that at least `min_icons` pictures show, and every phrase in them."""
        per_phrase = np.bincount(pack.phrase_of, minlength=len(pack.phrases))
        counts: Counter[str] = Counter()
        for phrase, icons in zip(pack.phrases, per_phrase, strict=True):
            for word in phrase["words"]:
                counts[word] += int(icons)
        vocabulary = sorted(word for word, icons in counts.items() if icons >= min_icons)
        index = {word: at for at, word in enumerate(vocabulary)}
        ids = torch.zeros(len(pack.phrases), WORDS_PER_PHRASE, dtype=torch.long)
        shares = torch.zeros(len(pack.phrases), WORDS_PER_PHRASE)
        for row, phrase in enumerate(pack.phrases):
            known = [(w, s) for w, s in phrase["words"].items() if w in index]
            known = sorted(known, key=lambda item: -item[1])[:WORDS_PER_PHRASE]
            total = sum(share for _, share in known)
            for at, (word, share) in enumerate(known):
                ids[row, at], shares[row, at] = index[word], share / total
        weight = torch.from_numpy(per_phrase).float().unsqueeze(1) * shares
        frequency = torch.zeros(len(vocabulary)).index_add_(0, ids.flatten(), weight.flatten())
        return cls(vocabulary, ids, shares, frequency / frequency.sum())

    def usable(self, pack: Pack) -> NDArray[np.int64]:
        """Rows of the pack whose phrase has at least one word of the vocabulary."""
        return np.flatnonzero(self.shares.sum(dim=1).numpy()[pack.phrase_of] > 0)

    def rarity(self, phrases: NDArray[np.int32], power: float) -> NDArray[np.float64]:
        """Mean over the words of each phrase (B,) of their frequency to minus `power`."""
        at = torch.from_numpy(phrases).long()
        rare = self.frequency.double().clamp(min=1e-9) ** -power
        return np.asarray((self.shares[at] * rare[self.ids[at]]).sum(dim=1))


def soft_cross_entropy(
    logits: torch.Tensor, ids: torch.Tensor, shares: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy in nats of logits (B, V) against sparse targets (B, W)."""
    picked = torch.gather(torch.log_softmax(logits.float(), dim=1), 1, ids)
    return -(picked * shares).sum(dim=1).mean()
