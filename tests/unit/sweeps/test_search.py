"""Searches on made-up scores: what is tried, what is chosen, and that nothing else decides it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from fewtune.core.errors import ConfigError
from fewtune.core.protocol import Case, Score
from fewtune.core.search_result import search_text
from fewtune.sweeps.search import Searches, at_random
from fewtune.sweeps.search_space import Range, Settings, Space, read_settings

GRID: Space = {"ratio": (0.2, 0.6), "lr": (1e-3, 1e-2)}
RANGES: Space = {"ratio": Range(0.0, 1.0), "lr": Range(1e-5, 1e-1, log=True), "rank": Range(1, 64)}
Objective = Callable[[Case], float | None]


class File:
    """A source of two strategies, two seeds and one or two numbers of shots."""

    def __init__(self, *shots: int) -> None:
        self.shots = shots or (4,)

    def cases(self, scores: Iterable[Score] = ()) -> tuple[Case, ...]:
        return tuple(
            Case(strategy=strategy, data="pets", shots=shots, seed=seed, options={"length": 9})
            for strategy in ("clip-lora", "clip-adapter")
            for shots in self.shots
            for seed in (1, 2)
        )


def score(case: Case, top1: float | None) -> Score:
    return Score(
        case=case, target=case.own, top1=top1, error="" if top1 is not None else "it broke"
    )


def searches(space: Space, *shots: int, **settings: Any) -> Searches:
    return Searches(File(*shots), Settings(spaces={"clip-adapter": space}, **settings))


def driven(make: Callable[[], Searches], objective: Objective) -> tuple[list[Case], list[Score]]:
    """All cases in the order of their naming; each round has a new source, as after a kill."""
    named: dict[str, Case] = {}
    scores: list[Score] = []
    while new := [c for c in make().cases(scores) if c.key() not in named]:
        named |= {case.key(): case for case in new}
        scores += [score(case, objective(case)) for case in new]
    return list(named.values()), scores


def finals(cases: Iterable[Case]) -> list[Case]:
    return [c for c in cases if c.strategy == "clip-adapter" and c.split == "test"]


def test_trials_come_first_and_the_best_is_run_with_all_seeds() -> None:
    source = searches(GRID, 4, 16, seed=7)
    first = source.cases()
    assert [c for c in first if c.strategy == "clip-lora"] == list(File(4, 16).cases()[:4])
    trials = [case for case in first if case.split == "val"]
    assert len(trials) == 8
    assert not finals(first)
    assert {(case.seed, case.options["length"]) for case in trials} == {(7, 9)}
    tops = {0.2: 0.5, 0.6: 0.7}
    scores = [
        score(c, tops[c.options["ratio"]] if c.shots == 4 else 1e-3 / c.options["lr"])
        for c in trials
    ]
    assert not finals(source.cases(scores[:3]))
    of_4 = finals(source.cases(scores[:4]))
    assert [(c.shots, c.seed) for c in of_4] == [(4, 1), (4, 2)]
    chosen = {c.shots: c.options for c in finals(source.cases(reversed(scores)))}
    assert chosen[4] == {"length": 9, "ratio": 0.6, "lr": 1e-3}  # of two equal ones, the first
    assert chosen[16] == {"length": 9, "ratio": 0.2, "lr": 1e-3}
    record = of_4[0].chosen_by
    assert record is not None
    assert record.pop("trials") == [
        {"values": {"ratio": ratio, "lr": lr}, "top1": tops[ratio]}
        for ratio in (0.2, 0.6)
        for lr in (1e-3, 1e-2)
    ]
    assert record == {
        "method": "grid",
        "seed": 7,
        "scored_on": "validation images",
        "chosen": {"ratio": 0.6, "lr": 1e-3},
        "top1": 0.7,
        "ties": "the first in the order of the trials",
        "tied": 2,
    }
    assert search_text({**record, "trials": [{"top1": 0.7}] * 4}) == (
        "ratio 0.6, lr 0.001: best of 4 trials (grid) with 70.0 % of the validation images; 2 are "
        "equal, of which this is the first in the order of the trials"
    )


def test_failed_trials_are_recorded_and_skipped_and_all_failed_is_an_error() -> None:
    def half(case: Case) -> float | None:
        return None if case.options.get("ratio") == 0.6 else 0.0

    cases, scores = driven(lambda: searches(GRID), half)
    (one, other) = finals(cases)
    assert one.options == other.options == {"length": 9, "ratio": 0.2, "lr": 1e-3}
    assert one.chosen_by is not None
    assert one.chosen_by["trials"][2] == {
        "values": {"ratio": 0.6, "lr": 1e-3},
        "error": "it broke",
    }
    assert "2 failed" in search_text(one.chosen_by)
    assert not any(why for _, why in searches(GRID).failures(scores))
    cases, scores = driven(lambda: searches(GRID), lambda case: None)
    assert not finals(cases)
    failures = searches(GRID).failures(scores)
    assert [case.seed for case, _ in failures] == [1, 2]
    assert failures[0][1] == ("All 4 trials of the search failed, the first with: it broke")


def test_random_draws_follow_the_seed_and_are_different_values() -> None:
    drawn = at_random(RANGES, 50, "0")
    assert drawn == at_random(RANGES, 50, "0")[:50] != at_random(RANGES, 50, "1")
    assert len({repr(values) for values in drawn}) == 50
    assert drawn[0] == {"ratio": 0.5228, "lr": 0.0592, "rank": 48}
    assert {type(values["rank"]) for values in drawn} == {int}
    assert all(
        0 <= v["ratio"] <= 1 and 1e-5 <= v["lr"] <= 0.1 and 1 <= v["rank"] <= 64 for v in drawn
    )
    assert 15 < sum(values["lr"] < 1e-3 for values in drawn) < 35  # half of the decades
    assert at_random(GRID, 4, "0") == at_random(GRID, 9, "1")
    assert len(at_random({"rank": Range(1, 3)}, 9, "0")) == 3
    cases, _ = driven(lambda: searches(RANGES, method="random", trials=5), lambda case: 0.5)
    assert len([case for case in cases if case.split == "val"]) == 5


def test_optuna_goes_on_as_if_it_had_never_been_stopped() -> None:
    def objective(case: Case) -> float | None:
        ratio = case.options.get("ratio", 0)
        return None if ratio < 0.3 else 1 - abs(ratio - 0.7)

    space: Space = {"ratio": Range(0.0, 1.0), "alpha": ("small", "large")}
    one = searches(space, method="optuna", trials=14)
    whole, _ = driven(lambda: one, objective)
    stopped, _ = driven(lambda: searches(space, method="optuna", trials=14), objective)
    assert whole == stopped
    tried = [case.options["ratio"] for case in whole if case.split == "val"]
    assert len(tried) == 14
    assert any(ratio < 0.3 for ratio in tried)
    best = max((r for r in tried if r >= 0.3), key=lambda r: -abs(r - 0.7))
    assert {case.options["ratio"] for case in finals(whole)} == {best}
    # After ten random draws, scores decide where TPE looks.
    worse, _ = driven(lambda: one, lambda case: case.options.get("ratio", 0) or None)
    elsewhere = [case.options["ratio"] for case in worse if case.split == "val"]
    assert elsewhere[:10] == tried[:10]
    assert elsewhere != tried
    other = searches(space, method="optuna", trials=14, seed=1)
    assert finals(driven(lambda: other, objective)[0]) != finals(whole)


def test_optuna_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"Try: pip install .fewtune\[search\]"):
        searches(GRID, method="optuna", trials=2).cases()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"methods": "grid", "clip-lora": {"lr": [1]}}, "Did you mean 'method'"),
        ({"clip-lore": {"lr": [1]}}, "Did you mean 'clip-lora'"),
        ({"method": "bayes", "clip-lora": {"lr": [1]}}, "Known: grid, optuna, random"),
        ({"clip-lora": {}}, "names nothing to try"),
        ({"clip-lora": {"lr": []}}, "nothing to try"),
        ({"clip-lora": {"shots": [1, 2]}}, "Put shots at the top"),
        ({"clip-lora": {"lr": {"low": 1e-4, "high": 1e-2}}}, "List its values"),
        ({"trials": 5, "clip-lora": {"lr": [1]}}, "a grid tries every combination"),
        ({"method": "optuna", "clip-lora": {"lr": [1]}}, "Add trials = 20"),
        ({"method": "random", "trials": 0, "clip-lora": {"lr": [1]}}, "found 0"),
        ({"method": "random", "trials": 5, "clip-lora": {"lr": {"low": 1}}}, "A range looks like"),
        (
            {"method": "random", "trials": 5, "clip-lora": {"lr": {"low": 1, "high": "2"}}},
            "must be numbers, found '2'",
        ),
        (
            {"method": "random", "trials": 5, "clip-lora": {"lr": {"low": 2, "high": 1}}},
            "found 2 and 1",
        ),
        (
            {
                "method": "random",
                "trials": 5,
                "clip-lora": {"lr": {"low": 0, "high": 1.0, "log": True}},
            },
            "begins above 0",
        ),
    ],
)
def test_a_table_that_is_wrong_says_what_to_write(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_settings(table, ["clip-lora", "clip-adapter"])
    assert message in str(error.value)


def test_a_table_is_read() -> None:
    table = {
        "method": "random",
        "trials": 3,
        "subset": "800",
        "clip-lora": {"weight-decay": {"low": 1, "high": 8}, "params": ["q", "k"]},
    }
    settings = read_settings(table, ["clip-lora"], ["params"])
    space = {"weight_decay": Range(1, 8), "params": (["q", "k"],)}
    assert settings == Settings("random", 3, 0, "800", {"clip-lora": space})


def test_what_is_searched_is_no_axis_too() -> None:
    class Axis:
        def cases(self, scores: Iterable[Score] = ()) -> tuple[Case, ...]:
            return tuple(
                Case(strategy="clip-adapter", data="pets", options={"ratio": ratio})
                for ratio in (0.1, 0.2)
            )

    with pytest.raises(ConfigError, match="ratio of clip-adapter is searched, but"):
        Searches(Axis(), Settings(spaces={"clip-adapter": GRID}))
