"""A sweep file becomes the flags of each run."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fewtune.bench.grid import expand
from fewtune.core.errors import ConfigError

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
