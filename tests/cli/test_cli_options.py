"""Flags are fields: their types, bounds and defaults, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
import pytest
from commands import Cli
from pydantic import Field

from fewtune.cli.fit import split_strategy, strategy_command
from fewtune.cli.support.options import Command, ValueType, field_options, given
from fewtune.core.discovery import plugins
from fewtune.core.errors import ConfigError
from fewtune.core.fields import Frozen, Mebibytes, Seconds
from fewtune.model.load_strategy import load_strategy


class Knobs(Frozen):
    count: int = Field(3, ge=1, le=9, description="how many")
    share: float = Field(0.5, ge=0, lt=1, description="how much")
    lambda_: float = Field(8.0, gt=0)
    kind: Literal["red", "blue"] = "red"
    flip: bool = True
    floor: float | None = Field(None, ge=0)
    letters: str = Field("abc", pattern="^[a-c]+$")


def parse(*arguments: str) -> dict[str, object]:
    seen: dict[str, object] = {}

    def callback(**values: object) -> None:
        seen.update(given(click.get_current_context(), list(Knobs.model_fields)))

    command = Command("x", params=list(field_options(Knobs, "Knobs")), callback=callback)
    command.main(list(arguments), standalone_mode=False)
    return seen


def test_only_what_is_given_counts() -> None:
    assert parse() == {}
    line = "--count 4 --no-flip --lambda=2 --kind BLUE --floor none"
    assert parse(*line.split()) == {
        "count": 4, "flip": False, "lambda_": 2.0, "kind": "blue", "floor": None,
    }  # fmt: skip
    assert parse("--floor", "0.25", "--letters", "ab") == {"floor": 0.25, "letters": "ab"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "--count must be a whole number from 1 to 9, found '0'."),
        (["--count", "2.5"], "--count must be a whole number from 1 to 9, found '2.5'."),
        (["--count", "none"], "found 'none'"),
        (["--share", "1"], "--share must be a number at least 0 and below 1, found '1'."),
        (["--share", "nan"], "found 'nan'"),
        (["--lambda", "inf"], "--lambda must be a number above 0, found 'inf'."),
        (["--floor", "-1"], "--floor must be a number at least 0 or none, found '-1'."),
        (["--kind", "blu"], "--kind has no 'blu'. Did you mean 'blue'?"),
        (["--letters", "xyz"], "--letters: String should match pattern '^[a-c]+$'; found 'xyz'."),
    ],
)
def test_refusals_name_flag_bound_and_value(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(*arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("0.5m", 30)]
)
def test_times(text: str, seconds: float) -> None:
    assert ValueType(Seconds, gt=0).convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "10x", "m", "1.2.3s", "nan", "5m5m?"])
def test_bad_times(text: str) -> None:
    with pytest.raises(ConfigError, match="a time such as"):
        ValueType(Seconds, gt=0).convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "mib"), [("2GiB", 2048), ("800 MiB", 800), ("1.5g", 1536), ("1GB", 1e9 / 2**20)]
)
def test_memory_is_an_amount_with_a_unit(text: str, mib: float) -> None:
    assert ValueType(Mebibytes, gt=0).convert(text, None, None) == pytest.approx(mib)


@pytest.mark.parametrize("text", ["2", "GiB", "0GiB", "-1GiB", "nanMiB", "2 GiBs", "1e3MiB"])
def test_memory_without_amount_or_unit_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be an amount of memory such as 2GiB"):
        ValueType(Mebibytes, gt=0).convert(text, None, None)


def test_large_whole_numbers_are_refused_not_crashed() -> None:
    with pytest.raises(ConfigError, match="whole number"):
        ValueType(int).convert("1" * 400, None, None)


@pytest.mark.parametrize("name", plugins("strategies"))
def test_every_field_of_every_strategy_has_a_flag(name: str) -> None:
    strategy = load_strategy(name)
    recipe = strategy.recipe
    fields = {*strategy.model_fields, *(type(recipe).model_fields if recipe else ())}
    named = {parameter.name for parameter in strategy_command(strategy).params}
    assert fields <= named


def test_help_of_a_strategy_shows_its_defaults_and_bounds(cli: Cli) -> None:
    out = " ".join(cli("fit clip-lora --help").out.split())
    assert "--rank INTEGER Rank r of the update. [2; from 1 to 1024]" in out
    assert "--lr NUMBER Peak learning rate. [0.0002; above 0 " in out
    assert out.index("--rank") < out.index("--lr ") < out.index("--data DIR")


def test_large_limits_are_written_out(cli: Cli) -> None:
    assert "from 0 to 2,147,483,647" in " ".join(cli("quickstart --help").out.split())


def test_help_of_zero_shot_has_no_recipe(cli: Cli) -> None:
    assert "--lr" not in cli("fit zero-shot --help").out


def test_general_help_lists_strategies(cli: Cli) -> None:
    out = cli("fit --help").out
    assert all(name in out for name in plugins("strategies"))
    assert "--rank" not in out


@pytest.mark.parametrize(
    ("line", "name", "rest"),
    [
        ("clip-lora --data a", "clip-lora", "--data a"),
        ("--data clipfit --rank 4 VPT_deep", "VPT_deep", "--data clipfit --rank 4"),
        ("--rank 4 --data a", None, "--rank 4 --data a"),
        ("--quiet clpfit", "clpfit", "--quiet"),
        ("--lr=1 clpfit", "clpfit", "--lr=1"),
        ("", None, ""),
    ],
)
def test_the_strategy_is_found_anywhere(line: str, name: str | None, rest: str) -> None:
    assert split_strategy(line.split()) == (name, rest.split())


def test_a_field_that_hides_a_flag_is_refused() -> None:
    lora = load_strategy("clip-lora")
    fields = {"__annotations__": {"seed": int}, "seed": 1, "__module__": lora.__module__}
    clash = type("Clash", (lora,), fields)
    with pytest.raises(ConfigError, match="collides with the flag --seed"):
        strategy_command(clash)


def test_a_path_is_a_path(cli: Cli, place: Path) -> None:
    outcome = cli("fit --config", place / "none.toml")
    assert outcome.status == 2
    assert "No such file" in outcome.err
