"""The settings of peft4clip, translated, and options that become a strategy and a recipe."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import fewtune
from fewtune.core.errors import ConfigError
from fewtune.datasets import catalog
from fewtune.training.named_recipes import RECIPES, configure, named_recipe

PEFT4CLIP_KEYS = (
    "vtab-caltech101", "vtab-cifar100", "vtab-dtd", "vtab-oxford_flowers", "vtab-oxford_pet",
    "vtab-svhncropped", "vtab-sun397", "vtab-pcam", "vtab-eurosat", "vtab-resisc45",
    "vtab-clevr_count", "vtab-clevr_distance", "vtab-dmlab", "vtab-kitti",
    "vtab-dSprites_location", "vtab-dSprites_orientation", "vtab-smallnorb_azimuth",
    "vtab-smallnorb_elevation",
)  # fmt: skip
STRATEGIES = ("clip-adapter", "vpt-shallow", "vpt-deep")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("task", PEFT4CLIP_KEYS)
def test_every_task_of_peft4clip_gives_a_valid_recipe(strategy: str, task: str) -> None:
    made, recipe = configure(strategy, named_recipe("peft4clip", strategy, task))
    assert made.name() == strategy
    assert recipe is not None
    assert (recipe.batch_size, recipe.schedule, recipe.crop_scale) == (32, "constant", None)
    assert recipe.warmup == 0
    assert recipe.length > 5


@pytest.mark.parametrize(
    ("strategy", "task", "tokens", "lr", "decay", "epochs"),
    [
        ("vpt-shallow", "vtab-caltech101", 100, 10, 1e-4, 10),
        ("vpt-shallow", "vtab-clevr_distance", 200, 50, 0, 15),
        ("vpt-shallow", "vtab-svhncropped", 200, 10, 1e-4, 50),
        ("vpt-shallow", "vtab-oxford_pet", 1, 1, 1e-4, 5),
        ("vpt-deep", "vtab-caltech101", 10, 1, 1e-4, 3),
        ("vpt-deep", "vtab-dSprites_location", 50, 0.001, 1e-4, 15),
        ("vpt-deep", "vtab-eurosat", 100, 10, 1e-4, 30),
        ("vpt-deep", "vtab-clevr_count", 50, 1, 1e-4, 7),
    ],
)
def test_prompt_tuning_takes_the_published_step(
    strategy: str, task: str, tokens: int, lr: float, decay: float, epochs: int
) -> None:
    options = named_recipe("peft4clip", strategy, task)
    assert options["tokens"] == tokens
    assert options["lr"] * 32 == pytest.approx(lr)
    # The published step shrinks a weight by lr * decay; so does this one.
    assert options["lr"] * options["weight_decay"] == pytest.approx(lr * decay)
    assert options["length"] == epochs + 5
    assert (options["projection"], options["dropout"]) == (768, 0.1)
    assert (options["optimizer"], options["momentum"]) == ("sgd", 0.9)
    assert options["insert"] == "after-norm"


@pytest.mark.parametrize(
    ("task", "lr", "decay", "epochs"),
    [
        ("vtab-caltech101", 1e-3, 1e-5, 2),
        ("vtab-dmlab", 1e-2, 1e-4, 15),
        ("vtab-kitti", 1e-3, 1e-5, 10),
        ("vtab-pcam", 1e-3, 1e-4, 50),
    ],
)
def test_the_adapter_is_trained_as_published(
    task: str, lr: float, decay: float, epochs: int
) -> None:
    options = named_recipe("peft4clip", "clip-adapter", task)
    assert (options["lr"], options["weight_decay"], options["length"]) == (lr, decay, epochs + 5)
    assert (options["ratio"], options["reduction"], options["optimizer"]) == (0.5, 4, "adamw")


def test_any_name_of_a_task_leads_to_its_settings() -> None:
    for alias, task in (
        ("vtba-dtd", "dtd"),
        ("cifar", "cifar100"),
        ("clevr_dist", "clevr-distance"),
    ):
        assert named_recipe("peft4clip", "vpt-deep", alias) == named_recipe(
            "peft4clip", "vpt-deep", task
        )
    elevation = named_recipe("peft4clip", "vpt-deep", "smallnorb_elevation")
    assert named_recipe("peft4clip", "vpt-deep", "vtab-smallnorb_distance") == elevation


def test_every_strategy_has_settings_for_the_same_tasks() -> None:
    tables = tomllib.loads((RECIPES / "peft4clip.toml").read_text(encoding="utf-8"))
    tasks = {name.removeprefix("vtab/") for name in catalog.names() if name.startswith("vtab/")}
    for strategy in STRATEGIES:
        assert set(tables[strategy]["tasks"]) == tasks - {"retinopathy"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("peftclip", "vpt-deep", "dtd"), "Did you mean 'peft4clip'"),
        (("peft4clip", "clip-lora", "dtd"), "clip-adapter, vpt-shallow, vpt-deep"),
        (("peft4clip", "vpt-deep", "my-birds"), "caltech101, cifar100, clevr-count"),
    ],
)
def test_what_is_not_there_is_named(arguments: tuple[str, str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        named_recipe(*arguments)


def test_options_go_to_strategy_and_recipe() -> None:
    strategy, recipe = configure("clip-lora", {"rank": 4, "lr": 1e-3, "batch-size": 8})
    assert strategy.model_dump()["rank"] == 4
    assert recipe is not None
    assert (recipe.lr, recipe.batch_size, recipe.min_lr) == (1e-3, 8, 1e-6)


def test_zero_shot_has_no_recipe_to_change() -> None:
    assert configure("zero-shot", {})[1] is None
    with pytest.raises(ConfigError, match="no option 'lr'"):
        configure("zero-shot", {"lr": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rnak": 4}, "Did you mean 'rank'"),
        ({"rank": 0}, "--rank must be a whole number from 1 to 1024, found '0'"),
        ({"lr": -1}, "--lr must be a number above 0 and at most"),
    ],
)
def test_wrong_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure("clip-lora", options)


@pytest.mark.parametrize(
    ("strategy", "length", "message"),
    [
        ("clip-adapter", {"epochs": 0}, "clip-adapter learns by gradient steps.*be 0.*epochs"),
        ("tip-adapter", {"steps": 5}, "tip-adapter makes no gradient step.*be 5.*steps"),
    ],
)
def test_a_length_that_trains_nothing_is_refused_before_anything_is_made(
    tmp_path: Path, strategy: str, length: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fewtune.fit(tmp_path / "nowhere", strategy, runs=tmp_path / "runs", **length)
    assert not (tmp_path / "runs").exists()
