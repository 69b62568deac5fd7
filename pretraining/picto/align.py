"""Aligns a text tower with a trained image tower, then tunes both together for a short while.

First the image tower is locked: its features are computed once and the text tower learns to find
the picture of a caption among the others of the batch, and to speak the words of the caption with
the word head of the image tower. Then both towers are tuned on fresh views.
"""

import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from pretraining.picto import checkpoint
from pretraining.picto.augment import normalise
from pretraining.picto.captions import caption
from pretraining.picto.network import CONTEXT, IMAGE_PX, build, image_features, text_features
from pretraining.picto.optimiser import MuonAdam
from pretraining.picto.pack import Pack
from pretraining.picto.pictures import Pictures
from pretraining.picto.targets import WordTargets, soft_cross_entropy
from pretraining.picto.train import WordHead, is_validation

MAX_LOG_SCALE = float(np.log(100.0))
WARM_UP_STEPS = 50
WORD_LOSS_SHARE = 0.5


@dataclass(frozen=True)
class Alignment:
    """Lengths of the two parts, in steps, and how many pictures are encoded for the first."""

    text_steps: int = 1500
    joint_steps: int = 200
    text_batch: int = 256
    joint_batch: int = 256
    pictures: int = 100_000
    seed: int = 0
    matrix_rate: float = 0.006
    joint_share: float = 0.15  # of the rates, in the joint part


class PhraseBatches:
    """Batches of pictures whose phrases all differ, so that no caption has two right pictures."""

    def __init__(self, rows: NDArray[np.int64], phrase_of: NDArray[np.int32], seed: int) -> None:
        """`rows` are drawn uniformly; rows of a phrase that is in the batch already are skipped."""
        self.rows, self.phrase_of = rows, phrase_of
        self.random = np.random.default_rng(seed)

    def draw(self, size: int) -> NDArray[np.int64]:
        """Up to `size` row positions (indices into `rows`)."""
        at = self.random.integers(0, len(self.rows), size * 2)
        _, first = np.unique(self.phrase_of[self.rows[at]], return_index=True)
        return np.asarray(at[np.sort(first)[:size]])


def contrastive(image: torch.Tensor, text: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """The symmetric cross-entropy of CLIP over unit features (B, D), in nats."""
    logits = log_scale.clamp(max=MAX_LOG_SCALE).exp() * text @ image.T
    right = torch.arange(len(logits), device=logits.device)
    rows = functional.cross_entropy(logits, right)
    return (rows + functional.cross_entropy(logits.T, right)) / 2


class Aligner:
    """Model, frozen word head, captions and data."""

    def __init__(
        self,
        pack: Pack,
        model: CLIPModel,
        head: WordHead,
        tokenizer: CLIPTokenizer,
        plan: Alignment,
    ) -> None:
        """`head` is the word head that the image tower was trained with."""
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.pack, self.plan, self.tokenizer = pack, plan, tokenizer
        self.model, self.head = model.to(self.device), head.to(self.device).requires_grad_(False)
        self.targets, self.pictures = WordTargets.of(pack), Pictures.of(pack, device=self.device)
        self.random = random.Random(plan.seed)
        self.generator = torch.Generator(self.device).manual_seed(plan.seed)
        usable = self.targets.usable(pack)
        self.rows = usable[~is_validation(usable)]

    def tokens(self, phrases: NDArray[np.int32]) -> torch.Tensor:
        """Token ids (B, T) of one fresh caption a phrase."""
        texts = [caption(self.pack.phrases[p], self.random) for p in phrases]
        encoded = self.tokenizer(
            texts, padding=True, truncation=True, max_length=CONTEXT, return_tensors="pt"
        )
        ids: torch.Tensor = encoded["input_ids"]
        return ids.to(self.device)

    @torch.no_grad()
    def encode(self, rows: NDArray[np.int64], chunk: int = 512) -> torch.Tensor:
        """Image features (N, D) of one view each."""
        parts = []
        for at in range(0, len(rows), chunk):
            views = self.pictures.views(rows[at : at + chunk], self.generator, IMAGE_PX)
            with torch.autocast("cuda", torch.bfloat16, enabled=self.device == "cuda"):
                parts.append(image_features(self.model, normalise(views)).float())
        return torch.cat(parts)

    def text_loss(self, image: torch.Tensor, phrases: NDArray[np.int32]) -> torch.Tensor:
        """Contrastive loss against `image` (B, D) plus the words of the captions' phrases."""
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device == "cuda"):
            text = text_features(self.model, self.tokens(phrases)).float()
        loss = contrastive(image, text, self.model.logit_scale)
        at = torch.from_numpy(phrases).long()
        ids = self.targets.ids[at].to(self.device)
        shares = self.targets.shares[at].to(self.device)
        return loss + WORD_LOSS_SHARE * soft_cross_entropy(self.head(text), ids, shares)

    def _named(self, prefixes: tuple[str, ...]) -> dict[str, nn.Parameter]:
        return {n: p for n, p in self.model.named_parameters() if n.startswith(prefixes)}

    def _report(self, part: str, step: int, loss: float, since: float) -> None:
        if step % 50 == 0:
            seconds = time.monotonic() - since
            print(f"{part} step {step} loss {loss:.3f} {seconds:.0f} s", flush=True)

    def align_text(self) -> None:
        """The first part: text tower and temperature on cached image features."""
        chosen = np.random.default_rng(self.plan.seed).permutation(self.rows)[: self.plan.pictures]
        features = self.encode(chosen)
        print(f"encoded {len(chosen)} pictures", flush=True)
        drawn = PhraseBatches(chosen, self.pack.phrase_of, self.plan.seed + 1)
        names = self._named(("text_model", "text_projection", "logit_scale"))
        optimiser = MuonAdam(names, self.plan.matrix_rate)
        started, running = time.monotonic(), 0.0
        for step in range(1, self.plan.text_steps + 1):
            at = drawn.draw(self.plan.text_batch)
            loss = self.text_loss(features[at], self.pack.phrase_of[chosen[at]])
            torch.autograd.backward(loss)
            optimiser.step(_factor(step, self.plan.text_steps))
            running = 0.9 * running + 0.1 * loss.item()
            self._report("text", step, running, started)

    def tune_both(self) -> None:
        """The second part: both towers at a small rate on fresh views."""
        drawn = PhraseBatches(self.rows, self.pack.phrase_of, self.plan.seed + 2)
        names = self._named(("text_", "vision_model", "visual_projection", "logit_scale"))
        share = self.plan.joint_share
        optimiser = MuonAdam(names, self.plan.matrix_rate * share, 1e-3 * share)
        started, running = time.monotonic(), 0.0
        for step in range(1, self.plan.joint_steps + 1):
            rows = self.rows[drawn.draw(self.plan.joint_batch)]
            phrases = self.pack.phrase_of[rows]
            views = normalise(self.pictures.views(rows, self.generator, IMAGE_PX))
            with torch.autocast("cuda", torch.bfloat16, enabled=self.device == "cuda"):
                image = image_features(self.model, views).float()
            at = torch.from_numpy(phrases).long()
            ids, shares = self.targets.ids[at], self.targets.shares[at]
            words = soft_cross_entropy(
                self.head(image), ids.to(self.device), shares.to(self.device)
            )
            loss = self.text_loss(image, phrases) + WORD_LOSS_SHARE * words
            torch.autograd.backward(loss)
            optimiser.step(_factor(step, self.plan.joint_steps))
            running = 0.9 * running + 0.1 * loss.item()
            self._report("joint", step, running, started)


def _factor(step: int, steps: int) -> float:
    """Warm up, then fall to zero along a cosine."""
    warm = min(1.0, step / WARM_UP_STEPS)
    return warm * 0.5 * (1 + float(np.cos(np.pi * step / steps)))


def load_image_tower(
    path: Path, frequency: torch.Tensor, model: CLIPModel | None = None
) -> tuple[CLIPModel, WordHead]:
    """Model and word head of a checkpoint of the word training.

    Raises:
        ValueError: The checkpoint was trained on other words than `frequency` (V,) counts.
    """
    groups, facts = checkpoint.load(path)
    if len(facts["vocabulary"]) != len(frequency):
        raise ValueError(
            f"the checkpoint knows {len(facts['vocabulary'])} words, the pack {len(frequency)}:"
            " train again after rendering again"
        )
    model = model or build(seed=0)
    model.load_state_dict(groups["model"])
    head = WordHead(frequency, model.config.projection_dim)
    head.load_state_dict(groups["head"])
    return model, head
