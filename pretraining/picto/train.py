"""Trains the image tower by classifying the words of icon names.

The tower's unit feature is compared with one learned vector a word (from zero, with a bias by
word frequency), so that its feature space is ready for a text tower. Steps are a pure function of
(seed, step): a resumed run continues as if it had never stopped.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from transformers import CLIPModel

from pretraining.picto import checkpoint
from pretraining.picto.augment import normalise
from pretraining.picto.network import build, project_images
from pretraining.picto.optimiser import MuonAdam
from pretraining.picto.pack import Pack
from pretraining.picto.pictures import Pictures
from pretraining.picto.targets import WordTargets, soft_cross_entropy

WARM_UP_STEPS = 100
REPORT_STEPS = 50


@dataclass(frozen=True)
class Leg:
    """A stretch of training: up to step `until`, the last `decay` steps falling to zero."""

    until: int
    size_px: int = 32
    batch: int = 256
    decay: int = 0
    seed: int = 0
    save_every_s: float = 120.0
    workers: int = 2
    plain_share: float = 0.5
    balance: float = 0.0  # pictures are drawn by the frequency of their words to minus this

    def rate_factor(self, step: int) -> float:
        """Warm up, hold, and fall linearly over the last `decay` steps."""
        warm = min(1.0, (step + 1) / WARM_UP_STEPS)
        return warm * min(1.0, (self.until - step) / self.decay) if self.decay else warm


class WordHead(nn.Module):
    """Linear classification of features (B, D) over V words, starting at their frequencies.

    Features are standardised over the batch: those of a fresh network share one direction, beside
    which the differences between pictures would not be seen.
    """

    def __init__(self, frequency: torch.Tensor, dim: int) -> None:
        """`frequency` (V,) sets the bias to the log of the unigram distribution."""
        super().__init__()
        self.words = nn.Parameter(torch.zeros(len(frequency), dim))
        self.bias = nn.Parameter(frequency.clamp(min=1e-6).log())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (B, V); needs a batch of many different pictures or texts."""
        features = features.float()
        centred = features - features.mean(dim=0)
        standard = centred / (centred.square().mean(dim=0) + 1e-5 * features.square().mean()).sqrt()
        return standard @ self.words.T + self.bias


def is_validation(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """One picture in a hundred, by a fixed mixing of its row number."""
    return np.asarray((rows * 2654435761 % 2**32) % 100 == 7)


def batches(
    rows: NDArray[np.int64],
    size: int,
    seed: int,
    step: int,
    weights: NDArray[np.float64] | None = None,
) -> Iterator[NDArray[np.int64]]:
    """Endless batches from `step` on: each epoch is one shuffle of as many rows as there are.

    A row is in an epoch as often as its share of the `weights` says, rounded up or down at random.
    """
    per_epoch = len(rows) // size
    while True:
        rng = np.random.default_rng([seed, step // per_epoch])
        order = np.arange(len(rows))
        if weights is not None:
            ends = np.floor(np.cumsum(weights) * (len(rows) / weights.sum()) + rng.random())
            order = np.repeat(order, np.diff(ends, prepend=0).astype(np.int64))
        order = rng.permutation(order)
        for at in range(step % per_epoch, per_epoch):
            yield rows[order[at * size : (at + 1) * size]]
            step += 1


class WordTraining:
    """Model, head, optimiser and data of one run."""

    def __init__(self, pack: Pack, leg: Leg, model: CLIPModel | None = None) -> None:
        """`model` defaults to picto's architecture with random weights of the leg's seed."""
        self.leg, self.device = leg, "cuda" if torch.cuda.is_available() else "cpu"
        self.model = (model or build(leg.seed)).to(self.device)
        self.targets = WordTargets.of(pack)
        self.head = WordHead(self.targets.frequency, self.model.config.projection_dim)
        self.head.to(self.device)
        self.pictures, self.phrase_of = (
            Pictures.of(pack, leg.plain_share, self.device),
            pack.phrase_of,
        )
        usable = self.targets.usable(pack)
        held = is_validation(usable)
        self.rows, self.validation = usable[~held], usable[held]
        self.trained = self._named()
        self.optimiser = MuonAdam(self.trained)
        self.step = 0

    def _named(self) -> dict[str, nn.Parameter]:
        image = {
            n: p
            for n, p in self.model.named_parameters()
            if n.startswith(("vision_model", "visual_projection"))
        }
        return image | {f"head.{n}": p for n, p in self.head.named_parameters()}

    def loss(self, rows: NDArray[np.int64], pictures: torch.Tensor) -> torch.Tensor:
        """Word cross-entropy in nats of pictures (B, 3, S, S) in 0 to 1."""
        phrases = torch.from_numpy(self.phrase_of[rows]).long()
        ids, shares = self.targets.ids[phrases], self.targets.shares[phrases]
        pixels = normalise(pictures).to(self.device)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device == "cuda"):
            logits = self.head(project_images(self.model, pixels))
        return soft_cross_entropy(logits, ids.to(self.device), shares.to(self.device))

    def _shard(self, job: tuple[NDArray[np.int64], int]) -> tuple[float, list[torch.Tensor]]:
        """Loss and gradients of the views of some rows; `job` is (rows, seed of the views)."""
        rows, seed = job
        generator = torch.Generator(self.device).manual_seed(seed)
        views = self.pictures.views(rows, generator, self.leg.size_px)
        loss = self.loss(rows, views)
        return loss.item(), list(torch.autograd.grad(loss, list(self.trained.values())))

    def backward(self, rows: NDArray[np.int64], pool: ThreadPoolExecutor) -> float:
        """Fills the gradients of one batch and returns its loss.

        Each worker takes its own part of the batch on one core: where other programs share the
        cores, that waits less than operators that are split between them.
        """
        workers, seed = self.leg.workers, self.leg.seed * 1_000_003 + self.step
        parts = np.array_split(rows, workers)
        jobs = [(part, seed * workers + index) for index, part in enumerate(parts)]
        shards = list(pool.map(self._shard, jobs))
        for index, parameter in enumerate(self.trained.values()):
            parameter.grad = torch.stack([grads[index] for _, grads in shards]).mean(dim=0)
        return sum(loss for loss, _ in shards) / workers

    @torch.no_grad()
    def validate(self, count: int = 1024) -> float:
        """Cross-entropy on plain pictures that are not trained on, at the leg's resolution."""
        rows = self.validation[:count]
        plain = functional.interpolate(
            self.pictures.plain(rows), size=self.leg.size_px, mode="bilinear", antialias=True
        )
        losses = [
            self.loss(part, pictures).item() * len(part)
            for part, pictures in zip(
                np.array_split(rows, max(1, len(rows) // 256)),
                torch.tensor_split(plain, max(1, len(rows) // 256)),
                strict=True,
            )
        ]
        return sum(losses) / max(1, len(rows))

    def load(self, path: Path) -> None:
        """Continues from a checkpoint."""
        groups, facts = checkpoint.load(path)
        self.model.load_state_dict(groups["model"])
        self.head.load_state_dict(groups["head"])
        self.optimiser.load(groups["optimiser"])
        self.step = int(facts["step"])

    def save(self, path: Path) -> None:
        """Writes everything that a resumed run needs."""
        groups = {
            "model": self.model.state_dict(),
            "head": self.head.state_dict(),
            "optimiser": self.optimiser.state(),
        }
        facts = {"step": self.step, "vocabulary": self.targets.vocabulary}
        checkpoint.save(path, groups, facts)

    def run(self, path: Path) -> None:
        """Trains to the end of the leg; saves to `path` every few minutes and at the end."""
        started = saved = time.monotonic()
        first, running = self.step, 0.0
        phrases, power = self.phrase_of[self.rows], self.leg.balance
        weights = self.targets.rarity(phrases, power) if power else None
        stream = batches(self.rows, self.leg.batch, self.leg.seed, self.step, weights)
        with ThreadPoolExecutor(self.leg.workers) as pool:
            while self.step < self.leg.until:
                running += self.backward(next(stream), pool)
                self.optimiser.step(self.leg.rate_factor(self.step))
                self.step += 1
                if self.step % REPORT_STEPS == 0:
                    self._report(running / REPORT_STEPS, first, time.monotonic() - started)
                    running = 0.0
                if time.monotonic() - saved > self.leg.save_every_s:
                    self.save(path)
                    saved = time.monotonic()
        self.save(path)
        print(f"step {self.step} validation {self.validate():.3f} nats", flush=True)

    def _report(self, loss: float, first: int, seconds: float) -> None:
        rate = (self.step - first) * self.leg.batch / seconds
        print(f"step {self.step} loss {loss:.3f} {rate:.0f} pictures/s", flush=True)


def train(pack: Pack, leg: Leg, start: Path, path: Path) -> None:
    """Runs one leg from `start` (where it exists), writing `path`."""
    torch.set_num_threads(1)
    training = WordTraining(pack, leg)
    if start.exists():
        training.load(start)
    share = training.targets.frequency.clamp(min=1e-9)
    print(
        f"{len(training.rows)} pictures, {len(share)} words, entropy"
        f" {-(share * share.log()).sum():.2f} nats, from step {training.step}",
        flush=True,
    )
    training.run(path)
