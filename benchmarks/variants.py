"""FewTune's steps with one choice made otherwise, to tell whether the choice is the right one."""

from __future__ import annotations

import os
import tempfile
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import Step
from benchmarks.ours import fill, training
from fewtune.core.task import Example

Optimizer = Literal["fused", "foreach", "for-loop"]
PHOTOGRAPH_PX = (500, 375)
_OPTIONS: dict[str, dict[str, Any]] = {
    "fused": {"fused": True},
    "foreach": {"foreach": True, "fused": False},
    "for-loop": {"foreach": False, "fused": False},
}


def step(compiler: str = "", attention: str = "", **arguments: Any) -> Step:
    """Return one training step.

    Args:
        compiler: Backend of torch.compile for every block of both towers; "" compiles nothing.
        attention: How the towers attend; "" as FewTune chooses.
        arguments: Of `benchmarks.ours.training`.
    """
    run, steps = training(**arguments), count()
    if attention:
        run.model.set_attention(attention)  # type: ignore[arg-type]
    if compiler:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()  # compiling is measured, too
        torch._dynamo.config.recompile_limit = 64  # blocks share their code
        for tower in (run.model.image, run.model.text):
            for name in tower.blocks:
                run.model.net.get_submodule(name).compile(backend=compiler, dynamic=False)
    return lambda: run.step(next(steps))


def updates(optimizer: Optimizer, number: int, **arguments: Any) -> Step:
    """Return so many updates of a strategy's tensors by AdamW, without what gives gradients."""
    run = training(**arguments)
    groups = run.head.groups(run.parameters)
    update = torch.optim.AdamW(groups, lr=1e-6, **_OPTIONS[optimizer])
    for parameter in run.parameters.values():
        parameter.grad = torch.randn_like(parameter)
    return lambda: [update.step() for _ in range(number)]


def cached_steps(optimizer: Optimizer, number: int, **arguments: Any) -> Step:
    """Return so many steps of a strategy that works on features; of these, random ones are kept."""
    run = training(**arguments, recipe={"views": 1, "length": 2 * number, "length_unit": "steps"})
    fill(run)
    groups = run.head.groups(run.parameters)
    run.optimizer = torch.optim.AdamW(groups, weight_decay=1e-2, **_OPTIONS[optimizer])
    return lambda: [run.step(index) for index in range(number)]


def streamed_step(ahead: bool, batch: int, **arguments: Any) -> Step:
    """Return a step on photographs that are read anew each time.

    Args:
        ahead: Begin to read the next batch before this one is computed.
    """
    run, steps = training(batch=batch, images=2 * batch, cache=False, **arguments), count()
    cache, images = run.features, run.features.images
    images.examples = _photographs(2 * batch)

    def prefetch(indices: Any, epoch: int = 0) -> None:
        images.prefetch(indices, cache._view(cache._slot(epoch)))

    if ahead:
        cache.prefetch = prefetch  # type: ignore[method-assign]
    return lambda: run.step(next(steps))


def _photographs(number: int) -> list[Example]:
    """Write JPEG files of the usual size that are about as smooth as photographs."""
    folder, rng = Path(tempfile.mkdtemp()), np.random.default_rng(0)
    examples = []
    for index in range(number):
        small = Image.fromarray(rng.integers(0, 256, (38, 50, 3), np.uint8))
        path = folder / f"{index}.jpg"
        small.resize(PHOTOGRAPH_PX, Image.Resampling.BICUBIC).save(path, quality=90)
        examples.append(Example(str(index), 0, path))
    return examples
