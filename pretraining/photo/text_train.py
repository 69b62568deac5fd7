"""Trains the text tower on the vectors of nouns and glosses.

Batches are a pure function of (seed, step), so that a resumed run continues as if it had never
stopped. A batch is cut by length into parts that need hardly any padding.
"""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from pretraining.photo.text_nouns import utterance
from pretraining.photo.text_tower import END_ID, text_features
from pretraining.picto import checkpoint
from pretraining.picto.optimiser import MuonAdam

KIND_WEIGHTS = (8.0, 4.0, 1.0, 0.25)
GLOSS_SHARE = 0.1
HELD_OUT_SHARE = 50  # one concrete noun in so many is never trained on
CLASS_SCALE = 20.0  # of the cosines in the softmax over the class vectors
COSINE_LOSS = 4.0
WARM_UP_STEPS = 50
SAVE_S = 60.0


@dataclass(frozen=True)
class Lesson:
    """A stretch of training up to step `until`, the last `decay` steps falling to zero."""

    until: int
    decay: int
    batch: int = 512
    parts: int = 4
    seed: int = 0
    matrix_rate: float = 3e-3
    other_rate: float = 5e-4

    def rate_factor(self, step: int) -> float:
        """Warm up, hold, fall linearly."""
        warm = min(1.0, (step + 1) / WARM_UP_STEPS)
        return warm * min(1.0, (self.until - step) / max(self.decay, 1))


class Texts:
    """Random texts with their targets."""

    def __init__(self, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        """Reads what `text_targets` has written."""
        self.names, self.wider, self.glosses = facts["nouns"], facts["wider"], facts["glosses"]
        self.targets, self.described = tensors["nouns"].float(), tensors["described"].numpy()
        self.classes, self.kinds = tensors["classes"], tensors["kinds"].numpy()
        self.quiet = set(facts.get("quiet", []))  # never said in the phrase of the zero-shot test
        weights = np.array(KIND_WEIGHTS)[self.kinds]
        closeness = (self.targets @ self.classes.T).amax(dim=1).clamp(min=0.05).numpy()
        weights = weights * closeness / closeness.mean()
        self.held_out = (self.kinds == 2) & (
            np.arange(len(weights)) * 2654435761 % 2**32 % HELD_OUT_SHARE == 7
        )
        self.weights = np.where(self.held_out, 0.0, weights)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[list[str], torch.Tensor]:
        """Texts and the rows of their targets."""
        shares = self.weights / self.weights.sum()
        rows = rng.choice(len(self.names), count, p=shares)
        meanings = rng.integers(0, len(self.glosses), count)
        meant = (rng.random(count) < GLOSS_SHARE) & ~self.held_out[self.described[meanings]]
        words = random.Random(int(rng.integers(2**31)))
        texts = [
            self.glosses[meaning] if use else self.say(int(row), words)
            for row, meaning, use in zip(rows, meanings, meant, strict=True)
        ]
        return texts, torch.from_numpy(np.where(meant, self.described[meanings], rows))

    def say(self, row: int, rng: random.Random) -> str:
        """One text that names a noun."""
        name = self.names[row]
        return utterance(name, self.wider[row], name not in self.quiet, rng)


def encode(tokenizer: CLIPTokenizer, texts: list[str], context: int) -> list[list[int]]:
    """Token ids of each text, cut to the context."""
    ids: list[list[int]] = tokenizer(texts, truncation=True, max_length=context)["input_ids"]
    return ids


def padded(rows: list[list[int]], end: int = END_ID) -> torch.Tensor:
    """Ids (B, T), padded with the end of text."""
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [end] * (longest - len(row)) for row in rows])


def loss_of(found: torch.Tensor, targets: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Cosine distance plus KL of softmaxes over the class vectors, mean over texts."""
    cosine = 1 - (found * targets).sum(dim=1)
    right = functional.log_softmax(CLASS_SCALE * targets @ classes.T, dim=1)
    said = functional.log_softmax(CLASS_SCALE * found @ classes.T, dim=1)
    divergence = functional.kl_div(said, right, reduction="none", log_target=True).sum(dim=1)
    return COSINE_LOSS * cosine.mean() + divergence.mean()


class TextTraining:
    """Model, optimiser and texts of one run."""

    def __init__(
        self,
        texts: Texts,
        tokenizer: CLIPTokenizer,
        model: CLIPTextModelWithProjection,
        lesson: Lesson,
    ) -> None:
        """`model` is trained in place."""
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.texts, self.tokenizer, self.lesson = texts, tokenizer, lesson
        self.model = model.to(self.device)
        self.targets = texts.targets.to(self.device)
        self.classes = texts.classes.to(self.device)
        named = dict(model.named_parameters())
        self.optimiser = MuonAdam(named, lesson.matrix_rate, lesson.other_rate)
        self.step = 0

    def one_step(self) -> float:
        """Draws a batch, moves the weights, returns the loss."""
        lesson, config = self.lesson, self.model.config
        rng = np.random.default_rng([lesson.seed, self.step])
        texts, rows = self.texts.draw(lesson.batch, rng)
        ids = encode(self.tokenizer, texts, config.max_position_embeddings)
        order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
        total = 0.0
        for part in np.array_split(np.array(order), lesson.parts):
            batch = padded([ids[at] for at in part], config.eos_token_id).to(self.device)
            with torch.autocast(self.device, torch.bfloat16):
                found = text_features(self.model, batch)
            loss = loss_of(found, self.targets[rows[torch.from_numpy(part)]], self.classes)
            loss = loss * (len(part) / len(order))
            torch.autograd.backward(loss)
            total += loss.item()
        with torch.autocast(self.device, torch.bfloat16):
            self.optimiser.step(lesson.rate_factor(self.step))
        self.step += 1
        return total

    def load(self, path: Path) -> None:
        """Continues from a checkpoint."""
        groups, facts = checkpoint.load(path)
        self.model.load_state_dict(groups["model"])
        self.optimiser.load(groups["optimiser"])
        self.step = int(facts["step"])

    def save(self, path: Path) -> None:
        """Writes everything that a resumed run needs."""
        groups = {"model": self.model.state_dict(), "optimiser": self.optimiser.state()}
        checkpoint.save(path, groups, {"step": self.step})

    def run(self, path: Path) -> None:
        """Trains to the end of the lesson; saves to `path` every minute and at the end."""
        saved, cpu, running = time.monotonic(), time.process_time(), 0.0
        while self.step < self.lesson.until:
            running += self.one_step()
            if self.step % 50 == 0:
                rate = 50 * self.lesson.batch / (time.process_time() - cpu)
                print(f"step {self.step} loss {running / 50:.3f} {rate:.0f} texts/s", flush=True)
                cpu, running = time.process_time(), 0.0
            if time.monotonic() - saved > SAVE_S:
                self.save(path)
                saved = time.monotonic()
        self.save(path)
