"""The hash that names a run: pinned, blind to defaults spelled out, sensitive to everything."""

from __future__ import annotations

from typing import Any

import pytest

from fewtune.core.spec import Recipe, Spec

SPEC: dict[str, Any] = {
    "strategy": "clip-lora",
    "version": 1,
    "options": {"rank": 4},
    "recipe": Recipe(lr=2e-4, length=500, length_unit="steps-per-shot"),
    "task": "flowers",
    "data": "d" * 64,
    "backbone": "ViT-B16",
    "revision": "abc",
    "precision": "fp32",
    "shots": 16,
    "seed": 1,
}
CHANGES: dict[str, Any] = {
    "strategy": "clipfit",
    "version": 2,
    "options": {"rank": 8},
    "recipe": None,
    "task": "pets",
    "data": "e" * 64,
    "backbone": "ViT-B32",
    "revision": "abd",
    "precision": "bf16",
    "shots": None,
    "seed": 2,
    "draw": "coop",
    "content": "abc",
    "drawn": "f" * 64,
    "templates": "first",
    "resize": "squash",
    "interpolation": "bilinear",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "steps_scale": 0.5,
    "time_budget_s": 60.0,
}
RECIPE_CHANGES: dict[str, Any] = {
    "batch_size": 16,
    "drop_last": True,
    "optimizer": "sgd",
    "lr": 1e-4,
    "weight_decay": 0.1,
    "momentum": 0.5,
    "schedule": "constant",
    "schedule_unit": "epoch",
    "min_lr": 1e-6,
    "warmup": 1.0,
    "warmup_lr": 0.0,
    "length": 400.0,
    "length_unit": "epochs",
    "views": 2,
    "crop_scale": None,
    "flip": False,
    "shared_prefix": True,
}


def test_pinned() -> None:
    """A change here renames every run that users have: it must not happen by accident."""
    assert Spec(**SPEC).hash() == "d935020d1eaa"
    assert Spec(**SPEC).folder() == "clip-lora-flowers-d935020d1eaa"


def test_defaults_spelled_out_change_nothing() -> None:
    spec = Spec(**SPEC)
    full = Spec.model_validate_json(spec.model_dump_json())
    assert full.hash() == spec.hash()
    explicit = {**SPEC, "templates": "all", "resize": None, "steps_scale": 1, "time_budget_s": None}
    assert Spec(**explicit).hash() == spec.hash()
    recipe = SPEC["recipe"].model_dump()
    assert Spec(**{**SPEC, "recipe": recipe}).hash() == spec.hash()
    assert Spec(**{**SPEC, "recipe": {**recipe, "length": 500}}).hash() == spec.hash()


@pytest.mark.parametrize("field", list(Spec.model_fields))
def test_every_field_counts(field: str) -> None:
    assert Spec(**{**SPEC, field: CHANGES[field]}).hash() != Spec(**SPEC).hash()


@pytest.mark.parametrize("field", list(Recipe.model_fields))
def test_every_field_of_the_recipe_counts(field: str) -> None:
    recipe = SPEC["recipe"].model_copy(update={field: RECIPE_CHANGES[field]})
    assert Spec(**{**SPEC, "recipe": recipe}).hash() != Spec(**SPEC).hash()


def test_the_order_of_options_does_not_count() -> None:
    one = Spec(**{**SPEC, "options": {"rank": 4, "alpha": 2.0}})
    two = Spec(**{**SPEC, "options": {"alpha": 2.0, "rank": 4}})
    assert one.hash() == two.hash()
