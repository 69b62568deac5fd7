"""Training of the image tower: distillation from cached stem maps, without labels or captions.

The teacher's head works on each token and then averages, so its feature of a mixture of two maps
is known exactly: CutMix on tokens and flips make new views with exact targets. The loss is
4 (1 - cos) to the target plus the divergence of the student's softmax over the class vectors from
the teacher's over its classes. Steps are a function of (seed, step): a resumed run continues as if
it had never stopped.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPModel

from fewtune.backbones.clip import ClipImageTower
from fewtune.backbones.conv_stem import FrozenConv
from pretraining.photo.maps import GRID
from pretraining.photo.targets import Targets, to_maps
from pretraining.picto import checkpoint
from pretraining.picto.optimiser import MuonAdam

WARM_UP_STEPS = 50
REPORT_STEPS = 40
COSINE_WEIGHT = 4.0
START_SCALE = 20.0
MATRIX_RATE, OTHER_RATE = 5e-3, 1e-3
MIX_SHARE = 0.5  # of the rows of a batch


@dataclass(frozen=True)
class Leg:
    """A stretch of training: up to step `until`, the last `decay` steps falling to zero.

    Attributes:
        views: Rows of the cached maps that are trained on, from the first.
        rate: Factor on all learning rates.
    """

    until: int
    views: int
    batch: int = 128
    decay: int = 0
    seed: int = 0
    save_every_s: float = 120.0
    rate: float = 1.0

    def rate_factor(self, step: int) -> float:
        """Warm up, hold, and fall linearly over the last `decay` steps."""
        warm = min(1.0, (step + 1) / WARM_UP_STEPS)
        return warm * min(1.0, (self.until - step) / self.decay) if self.decay else warm

    def rows(self, step: int) -> NDArray[np.int64]:
        """Rows of a batch, drawn without repetition within an epoch."""
        epoch, position = divmod(step * self.batch, self.views // self.batch * self.batch)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.views)
        return np.sort(order[position : position + self.batch])


class Distillation(nn.Module):
    """The tower on maps of the teacher: the stem's last convolution, then the transformer."""

    def __init__(self, model: CLIPModel, last: FrozenConv, targets: Targets) -> None:
        super().__init__()
        vision: Any = model.vision_model
        self.last, self.targets = last, targets
        self.tower = ClipImageTower(model)
        self.tower.attention = "eager"
        self.vision, self.projection = vision, model.visual_projection
        vision.embeddings.image_size = GRID
        self.stem, vision.embeddings.patch_embedding.stem = (
            vision.embeddings.patch_embedding.stem,
            nn.Identity(),
        )
        self.logit_scale = nn.Parameter(torch.tensor(START_SCALE).log())

    def named(self) -> dict[str, nn.Parameter]:
        """Return what is trained, under the names that the optimiser sorts by."""
        parts = {"vision": self.vision, "projection": self.projection}
        found = {f"{n}.{k}": p for n, m in parts.items() for k, p in m.named_parameters()}
        return found | {"head.logit_scale": self.logit_scale}

    def teach(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, 320, 7, 7) -> maps of 1,280 channels and their pooled features (B, 1280)."""
        with torch.no_grad():
            wide = F.relu6(self.last(maps))
            return wide, wide.mean((2, 3))

    def embed(self, wide: Tensor) -> Tensor:
        """Maps (B, 1280, 7, 7) -> unit embeddings (B, D)."""
        return F.normalize(self.tower.run(wide, None).float(), dim=1)

    def loss(self, maps: Tensor) -> Tensor:
        """Return the loss of a batch of maps (B, 320, 7, 7)."""
        wide, pooled = self.teach(maps)
        pooled = pooled.float()
        student = self.embed(wide)
        cosine = (student * self.targets.embed(pooled)).sum(1)
        scores = self.logit_scale.exp() * student @ self.targets.classes.T
        taught = self.targets.logits(pooled).log_softmax(1)
        divergence = F.kl_div(scores.log_softmax(1), taught, reduction="batchmean", log_target=True)
        return COSINE_WEIGHT * (1 - cosine.mean()) + divergence


def augment(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of the maps (B, C, 7, 7) and paste a rectangle of another one into a share."""
    flipped = torch.rand(len(maps), generator=generator) < 0.5
    maps = torch.where(flipped[:, None, None, None], maps.flip(3), maps)
    mixed = torch.rand(len(maps), generator=generator) < MIX_SHARE
    corners = torch.randint(0, GRID, (len(maps), 2, 2), generator=generator).sort(2).values
    at = torch.arange(GRID)
    inside = [(at >= corners[:, i, :1]) & (at <= corners[:, i, 1:]) for i in (0, 1)]
    pasted = mixed[:, None, None] & inside[0][:, :, None] & inside[1][:, None, :]
    return torch.where(pasted[:, None], maps.roll(1, 0), maps)


@torch.no_grad()
def agreement(student: Distillation, maps: NDArray[np.float16]) -> tuple[float, float]:
    """Return in percent how often both name the same class, and the mean cosine to the target."""
    same = cosine = 0.0
    for start in range(0, len(maps), 128):
        part = to_maps(maps[start : start + 128]).to(student.logit_scale.device)
        with torch.autocast(part.device.type, torch.bfloat16):
            wide, pooled = student.teach(part)
            found = student.embed(wide)
        targets = student.targets
        named = targets.logits(pooled.float()).argmax(1)
        same += float(((found @ targets.classes.T).argmax(1) == named).sum())
        cosine += float((found * targets.embed(pooled.float())).sum())
    return 100 * same / len(maps), cosine / len(maps)


def train(
    student: Distillation,
    maps: NDArray[np.float16],
    held_out: NDArray[np.float16],
    leg: Leg,
    start: Path,
    target: Path,
) -> None:
    """Train until the end of the leg, from the checkpoint `start` if there is one."""
    named = student.named()
    optimiser = MuonAdam(named, MATRIX_RATE * leg.rate, OTHER_RATE * leg.rate, head_rate=3e-3)
    curve: list[list[float]] = []
    if start.exists():
        groups, facts = checkpoint.load(start)
        for name, parameter in named.items():
            parameter.data.copy_(groups["model"][name])
        optimiser.load(groups["optimiser"])
        curve = facts["curve"]
    device = student.logit_scale.device

    def save() -> None:
        groups = {"model": dict(named), "optimiser": optimiser.state()}
        checkpoint.save(target, groups, {"curve": curve})

    saved, losses = time.time(), []
    for step in range(optimiser.steps, leg.until):
        generator = torch.Generator().manual_seed(leg.seed + 1_000_003 * step)
        batch = augment(to_maps(maps[leg.rows(step)]), generator).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            loss = student.loss(batch)
        loss.backward()
        with torch.autocast(device.type, torch.bfloat16):  # the iteration of Muon too
            optimiser.step(leg.rate_factor(step))
        losses.append(float(loss.detach()))
        if (step + 1) % REPORT_STEPS == 0 or step + 1 == leg.until:
            same, cosine = agreement(student, held_out)
            curve.append([step + 1, sum(losses) / len(losses), same, cosine])
            scale = float(student.logit_scale.detach().exp())
            print(
                f"step {step + 1}: loss {curve[-1][1]:.3f}, held-out agreement {same:.1f} %, "
                f"cosine {cosine:.4f}, scale {scale:.1f}",
                flush=True,
            )
            losses = []
        if time.time() - saved > leg.save_every_s:
            save()
            saved = time.time()
    save()
