"""What a run is: the recipe, the spec that names it, and the plan that executes it.

A spec's hash covers only what differs from the defaults of the classes below, so a field that is
added later does not rename old runs. Changing a default would, silently: raise the strategy's
`version` instead, which is always hashed.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from pydantic import Field

from fewtune.core.fields import Frozen
from fewtune.core.files import digest
from fewtune.core.preprocess import Channels, Interpolation, ResizePolicy
from fewtune.core.run_config import TrainingSettings

InferenceType = Literal["vision-language", "vision"]
Precision = Literal["fp32", "bf16"]
Templates = Literal["first", "all"]
ZERO_SHOT = "zero-shot"
# How the names of tasks end whose validation images are scored (`core.splits.part_of`).
SCORED_ON_VAL = re.compile(r"-val(-base|-new)?$")


class Recipe(Frozen):
    """How a strategy is trained: optimizer, schedule, length and augmentation."""

    batch_size: int = Field(32, ge=1, description="images per step")
    drop_last: bool = Field(False, description="skip an epoch's last, smaller batch")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="update rule")
    lr: float = Field(1e-3, gt=0, le=1e6, description="peak learning rate")
    weight_decay: float = Field(0.0, ge=0, le=1e6, description="weight decay")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum (sgd)")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="learning rate over time")
    schedule_unit: Literal["step", "epoch"] = Field(
        "step", description="change the rate every step or every epoch"
    )
    min_lr: float = Field(0.0, ge=0, description="learning rate at the end of the cosine")
    warmup: float = Field(0.0, ge=0, description="length of the warm-up, in schedule units")
    warmup_lr: float | None = Field(
        None, ge=0, description="constant learning rate of the warm-up; none: rise from 0"
    )
    length: float = Field(100, ge=0, description="length of training; 0: no gradient step")
    length_unit: Literal["steps", "steps-per-shot", "epochs"] = Field(
        "epochs", description="unit of the length"
    )
    views: int = Field(
        0, ge=0, description="augmented views per image, encoded once; 0: a new view in every epoch"
    )
    crop_scale: float | None = Field(
        0.08, gt=0, le=1, description="smallest area of a random crop; none: no random crop"
    )
    flip: bool = Field(True, description="mirror half of the views at random")
    shared_prefix: bool = Field(
        False,
        description="compute the words that all prompts begin with once, with one dropout mask",
    )

    def steps_per_epoch(self, images: int) -> int:
        """Return the optimizer steps that one pass over `images` images takes, at least 1."""
        if self.drop_last and images >= self.batch_size:
            return images // self.batch_size
        return math.ceil(images / self.batch_size)

    def total_steps(self, images: int, shots: int, scale: float = 1.0) -> int:
        """Return the length of training in optimizer steps, at least 1 unless the length is 0.

        Args:
            shots: Images per class, for lengths given per shot.
            scale: Factor on the length (`--steps-scale`).
        """
        unit = {
            "steps": 1,
            "steps-per-shot": shots,
            "epochs": self.steps_per_epoch(images),
        }[self.length_unit]
        return max(self.length > 0, round(self.length * unit * scale))

    def rate(self, step: int, total: int, per_epoch: int, scale: float = 1.0) -> float:
        """Return the learning rate of a step (0-based).

        With `schedule_unit="epoch"` the rate is constant within an epoch of
        `per_epoch * scale` steps, so a scaled run passes through the whole schedule.
        """
        if self.schedule_unit == "step":
            now, warmup, end = float(step), self.warmup * scale, float(total)
        else:
            now = float(math.floor(step / max(1e-9, per_epoch * scale)))
            warmup, end = self.warmup, max(1.0, total / (per_epoch * scale))
        if now < warmup:
            return self.lr * now / warmup if self.warmup_lr is None else self.warmup_lr
        if self.schedule == "constant":
            return self.lr
        # A constant warm-up shifts the cosine without shortening its period (Dassl);
        # a linear one shortens it, so that the rate ends at its minimum (VPT).
        period = end if self.warmup_lr is not None else end - warmup
        progress = (now - warmup) / max(period, 1e-9)
        return self.min_lr + 0.5 * (self.lr - self.min_lr) * (1 + math.cos(math.pi * progress))


def scores_what_is_drawn(task: str, shots: int | None) -> bool:
    """Whether the images that are scored are drawn: validation images in the place of a test."""
    return shots is not None and SCORED_ON_VAL.search(task) is not None


class Spec(TrainingSettings):
    """Everything that decides a run's result; its hash is the run's name.

    Attributes:
        version: Version of the strategy's meaning.
        options: The strategy's fields that differ from their defaults.
        data: Fingerprint of the whole task, before few-shot draws.
        drawn: Hash of what was drawn, where that depends on more than keys and seed; else "".
        content: Digest of the images' bytes, where images of the same names and sizes have other
            bytes than those of a run that is there already; else "".
        templates: Use the first prompt template, or average over all of them.
        resize: Crop or squash test images; None as the checkpoint says.
        interpolation: Resampling filter; None as the checkpoint says.
        mean: Of the channels, in [0, 1]; None as the checkpoint says.
        std: Of the channels; None as the checkpoint says.
    """

    strategy: str
    version: int
    options: dict[str, Any]
    recipe: Recipe | None
    task: str
    data: str
    backbone: str
    revision: str
    precision: Precision
    drawn: str = ""
    content: str = ""
    templates: Templates = "all"
    resize: ResizePolicy | None = None
    interpolation: Interpolation | None = None
    mean: Channels | None = None
    std: Channels | None = None

    def hash(self) -> str:
        """Return 12 hexadecimal digits that name this run."""
        value = self.model_dump(mode="json", exclude_defaults=True)
        return digest(value)[:12]

    def untrained(self) -> Spec:
        """Return the spec of a run that trains nothing: length does not decide it.

        Nor do draws, unless the images that are scored are drawn as well.
        """
        update = {**TrainingSettings().model_dump(), "recipe": None, "drawn": ""}
        if scores_what_is_drawn(self.task, self.shots):
            update |= {name: getattr(self, name) for name in ("shots", "seed", "draw", "drawn")}
        return self.model_copy(update=update)

    def zero_shot(self, version: int) -> Spec:
        """Return the zero-shot run that this one is compared with: same prompts, same pixels.

        Args:
            version: Of the strategy `zero-shot`.
        """
        update = {"strategy": ZERO_SHOT, "version": version, "options": {}}
        return self.model_copy(update=update).untrained()

    def folder(self) -> str:
        """Return the run's folder name: readable parts, then the hash."""
        return f"{self.strategy}-{self.task}-{self.hash()}"


class Plan(Frozen):
    """How a run is executed: chosen once, stored before the first step, reused on resume.

    Another plan gives equal metrics and predicted labels, not equal bytes.
    """

    device: str
    threads: int = Field(ge=1)
    cache: bool = True
    steps_scale: float = Field(1.0, gt=0, description="of the spec and the time budget together")
    cache_mib: int = Field(1024, ge=0, description="memory for kept activations and images")
    text_chunk: int = Field(0, ge=0, description="class prompts sent at a time; 0: all at once")
    attention: Literal["sdpa", "eager-text", "eager"] = Field(
        "sdpa", description="in training: fused, in plain steps for texts, or for both towers"
    )
    memory_mib: int = Field(0, ge=0, description="most that the process may hold; 0: unknown")
    encoding_batch: int = Field(64, ge=1, description="images sent at a time without gradient")
    micro_batch: int = Field(0, ge=0, description="images of a step sent at a time; 0: all")
