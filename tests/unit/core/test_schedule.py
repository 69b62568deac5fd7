"""Rates and lengths of training against the formulas of the papers and of torch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.core.spec import Recipe
from fewtune.model.strategy import Strategy
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.clipfit import ClipFit


def recipe_of(kind: type[Strategy]) -> Recipe:
    assert kind.recipe is not None
    return kind.recipe


@pytest.mark.parametrize("shots", [1, 2])
def test_clip_lora_follows_torchs_cosine_by_step(shots: int) -> None:
    recipe, total = recipe_of(ClipLora), 500 * shots
    assert recipe.total_steps(images=7 * shots, shots=shots) == total
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=2e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total, eta_min=1e-6)
    for step in range(total):
        expected = optimizer.param_groups[0]["lr"]
        assert recipe.rate(step, total, per_epoch=3) == pytest.approx(expected, rel=1e-6)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(("epochs", "per_epoch"), [(100, 1), (100, 7), (10, 250)])
def test_clipfit_follows_the_authors_rate_by_epoch(epochs: int, per_epoch: int) -> None:
    recipe = recipe_of(ClipFit).model_copy(update={"length": epochs})
    total = recipe.total_steps(32 * per_epoch + 5, shots=16)
    assert total == epochs * per_epoch
    for step in range(total):
        epoch = step // per_epoch
        expected = 1e-5
        if epoch:
            expected = 0.001 * (1 + math.cos(math.pi * (epoch - 1) / epochs))
        assert recipe.rate(step, total, per_epoch) == pytest.approx(expected, rel=1e-9)


def test_linear_warm_up_then_cosine_to_the_minimum() -> None:
    recipe = Recipe(lr=0.4, min_lr=0.1, warmup=10, length=50, length_unit="steps")
    rates = [recipe.rate(step, 50, 5) for step in range(51)]
    assert rates[:10] == pytest.approx([0.04 * step for step in range(10)])
    assert rates[10] == pytest.approx(0.4)
    assert rates[30] == pytest.approx(0.25)
    assert rates[50] == pytest.approx(0.1)


def test_vpt_runs_its_first_epoch_at_rate_zero() -> None:
    recipe = Recipe(lr=1.0, schedule_unit="epoch", warmup=10, length=100)
    rates = [recipe.rate(step, 300, 3) for step in range(300)]
    assert rates[:3] == [0, 0, 0]
    assert rates[3:6] == pytest.approx([0.1] * 3)
    assert max(rates) == rates[30] == 1.0
    expected = 0.5 * (1 + math.cos(math.pi * 89 / 90))
    assert rates[299] == pytest.approx(expected)


def test_a_constant_rate_is_constant_after_the_warm_up() -> None:
    recipe = Recipe(lr=0.3, schedule="constant", warmup=4, warmup_lr=0.01)
    assert [recipe.rate(step, 8, 2) for step in range(8)] == [0.01] * 4 + [0.3] * 4


@pytest.mark.parametrize(
    ("length", "unit", "images", "drop", "expected"),
    [
        (500, "steps-per-shot", 80, False, 8000),
        (50, "epochs", 80, False, 150),
        (50, "epochs", 80, True, 100),
        (50, "epochs", 31, True, 50),
        (50, "epochs", 32, True, 50),
        (7, "steps", 80, False, 7),
        (0.2, "steps", 80, False, 1),
    ],
)
def test_lengths(length: float, unit: str, images: int, drop: bool, expected: int) -> None:
    recipe = Recipe(length=length, length_unit=unit, drop_last=drop)  # type: ignore[arg-type]
    assert recipe.total_steps(images, shots=16) == expected


RECIPES = [
    recipe_of(ClipLora),
    recipe_of(ClipFit),
    Recipe(lr=0.1, length=40),
    Recipe(lr=0.1, length=40, warmup=3, schedule_unit="epoch"),
    Recipe(lr=0.1, length=400, length_unit="steps", warmup=30),
]


@settings(max_examples=40)
@given(st.sampled_from(RECIPES), st.integers(1, 300), st.integers(1, 16), st.floats(0.02, 5))
def test_a_scaled_run_passes_through_the_whole_schedule(
    recipe: Recipe, images: int, shots: int, scale: float
) -> None:
    per_epoch = recipe.steps_per_epoch(images)
    whole = recipe.total_steps(images, shots)
    total = recipe.total_steps(images, shots, scale)
    assert total == max(1, round(whole * scale))
    rates = [recipe.rate(step, total, per_epoch, scale) for step in range(total)]
    assert all(0 <= rate <= recipe.lr * (1 + 1e-9) for rate in rates)
    if total < 20:
        return
    plain = [recipe.rate(step, whole, per_epoch) for step in range(whole)]
    assert max(rates) >= 0.9 * max(plain)
    # A step of the scaled run covers 1 / scale steps of the plain one.
    slack = recipe.lr * math.pi * (1 / total + 1 / whole + 1.5 * per_epoch / whole)
    assert rates[-1] <= plain[-1] + slack
    for share in (0.25, 0.5, 0.75):
        found, expected = rates[int(share * total)], plain[int(share * whole)]
        assert abs(found - expected) <= 2 * slack


@settings(max_examples=50)
@given(st.integers(1, 500), st.integers(1, 64), st.booleans())
def test_an_epoch_covers_the_images(images: int, batch: int, drop: bool) -> None:
    steps = Recipe(batch_size=batch, drop_last=drop).steps_per_epoch(images)
    assert steps >= 1
    if drop and images >= batch:
        assert steps * batch <= images < (steps + 1) * batch
    else:
        assert (steps - 1) * batch < images <= steps * batch
