"""A sweep file becomes the flags of each run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fewtune.core.errors import ConfigError
from fewtune.sweeps.grid import Grid, expand, overridden
from fewtune.sweeps.sources import SweepFile

STRATEGIES = ("clip-lora", "linear-probe")


def test_lists_are_axes_and_tables_belong_to_a_strategy() -> None:
    values: dict[str, Any] = {
        "strategy": ["linear-probe", "clip-lora"],
        "shots": [1, 4],
        "backbone": "picto",
        "clip-lora": {"rank": [2, 8], "backbone": "ViT-B16"},
    }
    shared = {"strategy": "linear-probe", "backbone": "picto"}
    own = {"strategy": "clip-lora", "backbone": "ViT-B16"}
    assert expand(values, STRATEGIES) == [
        {**shared, "shots": 1},
        {**shared, "shots": 4},
        {**own, "shots": 1, "rank": 2},
        {**own, "shots": 1, "rank": 8},
        {**own, "shots": 4, "rank": 2},
        {**own, "shots": 4, "rank": 8},
    ]


def test_several_tables_of_a_strategy_are_several_grids() -> None:
    values = {
        "strategy": "clip-lora",
        "seed": [1, 2],
        "clip-lora": [{"rank": [2, 4]}, {"matrices": "qv"}],
    }
    shared = {"strategy": "clip-lora"}
    assert expand(values, STRATEGIES) == [
        *({**shared, "seed": seed, "rank": rank} for seed in (1, 2) for rank in (2, 4)),
        *({**shared, "seed": seed, "matrices": "qv"} for seed in (1, 2)),
    ]


def test_the_table_of_a_single_strategy_stays() -> None:
    values = {"strategy": "clip-lora", "clip-lora": {"rank": [2, 4]}}
    assert len(expand(overridden(values, {"seed": [1]}), STRATEGIES)) == 2


def test_a_flag_that_takes_a_list_is_an_axis_only_as_a_list_of_lists() -> None:
    def cells(template: object) -> list[object]:
        values = {"strategy": "clip-lora", "template": template}
        return [cell["template"] for cell in expand(values, STRATEGIES, ["template"])]

    assert cells(["a {}", "the {}"]) == [["a {}", "the {}"]]
    assert cells([["a {}"], ["a {}", "the {}"]]) == [["a {}"], ["a {}", "the {}"]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shots": 1}, "names no strategy"),
        ({"strategy": ["clip-lora"], "shots": []}, "shots is an empty list"),
        ({"strategy": "clip-lora", "linear-probe": {}}, r"\[linear-probe\] is of no strategy"),
        ({"strategy": "clip-lora", "clip-lore": {}}, "'clip-lora'"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        expand(values, STRATEGIES)
    assert re.search(message, str(error.value))


def test_chosen_axes_count_more_than_tables_and_leave_out_strategies() -> None:
    values: dict[str, Any] = {
        "strategy": ["linear-probe", "clip-lora"],
        "shots": 1,
        "linear-probe": {"shots": [1, 2], "lr": 0.1},
        "clip-lora": [{"shots": 4, "rank": 2}, {"rank": 4}],
    }
    chosen = overridden(values, {"strategy": ["clip-lora"], "shots": [8]})
    assert expand(chosen, STRATEGIES) == [
        {"strategy": "clip-lora", "shots": 8, "rank": rank} for rank in (2, 4)
    ]


def test_cells_are_cases_and_what_is_no_number_stays_a_flag() -> None:
    cell = {"strategy": "clip-lora", "data": "x", "shots": 2, "seed": 1, "weight-decay": 0.1}
    (case,) = Grid((cell, dict(cell))).cases()
    assert (case.shots, case.seed, case.options) == (2, 1, {"weight_decay": 0.1})
    assert case.settings()["weight_decay"] == 0.1
    (odd,) = Grid(({**cell, "shots": "two"},)).cases()
    assert odd.settings()["shots"] == "two"
    with pytest.raises(ConfigError, match="needs data"):
        Grid(({"strategy": "clip-lora"},)).cases()


@pytest.mark.parametrize(
    "text",
    [
        'strategy = ["clip-lora"]\n[clip-lora]\nrank = [2, 4]\nrnk = 2\n',
        'protocol = "own"\n[options.clip-lora]\nrnk = 2\n',
        'protocol = "own"\n[options.clip-lora.photos]\nrnk = 2\n',
    ],
)
def test_a_wrong_key_in_a_table_is_named_with_its_table_before_images_are_looked_for(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text('data = "nowhere"\n' + text)
    with pytest.raises(ConfigError, match=r"\[clip-lora\] has the unknown key 'rnk'.*'rank'"):
        SweepFile.of(file).source({})
