"""What a command line left, and the flags of a short run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CLASSES = ("bird", "cat", "dog")


@dataclass(frozen=True)
class Outcome:
    """What a command left."""

    status: int
    out: str
    err: str


Cli = Callable[..., Outcome]


def short(images: Path, backbone: Path) -> list[str]:
    """The flags of a two-step run on one thread in fp32."""
    return [
        "--data", str(images), "--backbone", str(backbone), "--shots", "1", "--precision", "fp32",
        "--length", "2", "--length-unit", "steps", "--threads", "1",
    ]  # fmt: skip
