"""Protocols: the runs they ask for, the order of search and final runs, tables by hand."""

from __future__ import annotations

from typing import Any

import pytest

from fewtune.core.discovery import plugins
from fewtune.core.errors import ConfigError
from fewtune.core.protocol import Case, Protocol, Score, ScoreTable, Target, load_protocol
from fewtune.datasets import catalog
from fewtune.protocols.base_to_new import BaseToNew
from fewtune.protocols.cross_dataset import CrossDataset
from fewtune.protocols.domain_shift import DomainShift
from fewtune.protocols.few_shot import ELEVEN, FewShot
from fewtune.protocols.own import Own
from fewtune.protocols.vtab_1k import GROUPS, Vtab1k
from fewtune.reports.citations import references
from fewtune.sweeps.case_jobs import CaseJobs

TWO = ("clip-lora", "linear-probe")
SMALL: dict[str, Protocol] = {
    "few-shot": FewShot(strategies=TWO, data=("fewshot/dtd", "vtab/dtd"), shots=(1, 4)),
    "own": Own(strategies=TWO, data=("photos",), shots=(2,), prompts="coop"),
    "base-to-new": BaseToNew(strategies=TWO, data=("fewshot/dtd", "fewshot/pets")),
    "cross-dataset": CrossDataset(strategies=("clipfit",), targets=("fewshot/dtd",)),
    "domain-shift": DomainShift(strategies=TWO),
    "vtab-1k": Vtab1k(strategies=("vpt-deep", "clip-lora"), data=("vtab/dtd", "vtab/pcam")),
}


def score(case: Case, top1: float, target: Target | None = None) -> Score:
    return Score(case=case, target=target or case.own, top1=top1)


def means(table: ScoreTable, label: str) -> list[float | None]:
    row = next(row for row in table.rows if row.label == label)
    return [None if value is None else round(value.mean, 6) for value in row.values]


def test_every_file_is_a_protocol_of_its_name() -> None:
    assert SMALL.keys() == plugins("protocols").keys()
    for name, protocol in SMALL.items():
        assert load_protocol(name) is type(protocol)
        assert protocol.name() == name
        assert protocol.paper in {"", *references()}
    with pytest.raises(ConfigError, match="no protocol 'few-shots'"):
        load_protocol("few-shots")


def test_names_are_those_of_the_catalog() -> None:
    groups = catalog.groups()
    for group, tasks in GROUPS.items():
        assert {groups[catalog.task_name(task)] for task in tasks} == {group}
    assert sum(map(len, GROUPS.values())) == 19
    assert {*ELEVEN, *Vtab1k().data, *DomainShift().targets} == set(catalog.declared())


@pytest.mark.parametrize("name", SMALL)
def test_values_survive_json_and_cases_are_configs(name: str) -> None:
    protocol = SMALL[name]
    assert type(protocol).model_validate_json(protocol.model_dump_json()) == protocol
    cases = protocol.cases()
    assert len({case.key() for case in cases}) == len({case.name() for case in cases}) == len(cases)
    assert all(Case.model_validate_json(case.model_dump_json()) == case for case in cases)
    zero_shot = [case for case in cases if case.strategy == "zero-shot"]
    assert all(case.shots is None and not case.options for case in zero_shot)
    for case in {case.strategy: case for case in cases}.values():
        assert CaseJobs(name, {}).config(case).data == case.data
    scored = [score(case, 0.5, t) for case in cases for t in (case.own, *case.elsewhere)]
    tables = protocol.tables(scored)
    assert tables == protocol.tables(reversed(scored))
    assert all(ScoreTable.model_validate_json(table.model_dump_json()) == table for table in tables)
    assert all(len(row.values) == len(table.columns) for table in tables for row in table.rows)


def test_names_stay() -> None:
    case = Case(strategy="clip-lora", data="fewshot/dtd", shots=4, seed=1)
    assert case.name() == "clip-lora-fewshot-dtd-7d83f04d1800"
    moved = case.model_copy(update={"elsewhere": (Target(data="fewshot/pets"),)})
    assert moved.name() == case.name()
    changes: list[dict[str, Any]] = [{"seed": 2}, {"classes": "base"}, {"options": {"rank": 4}}]
    assert len({case.model_copy(update=change).key() for change in changes}) == 3


def test_few_shot_asks_for_the_papers_grid() -> None:
    cases = FewShot(strategies=TWO).cases()
    assert len(cases) == 11 + 11 * 2 * 5 * 3
    of_vtab = SMALL["few-shot"].cases()
    assert {case.subset for case in of_vtab if case.data == "vtab/dtd"} == {"full"}
    assert {case.subset for case in of_vtab if case.data == "fewshot/dtd"} == {None}


def test_few_shot_tables_by_hand() -> None:
    protocol = FewShot(strategies=TWO, data=("a", "b"), shots=(1, 4), seeds=(1, 2))
    known = []
    for case in protocol.cases():
        if case.strategy == "zero-shot":
            known.append(score(case, {"a": 0.4, "b": 0.6}[case.data]))
        elif case.strategy == "clip-lora" and (case.data, case.seed) != ("b", 2):
            known.append(score(case, 0.5 + 0.1 * case.seed + 0.01 * (case.shots or 0)))
    one, four, averages = protocol.tables(known)
    assert means(one, "zero-shot") == means(four, "zero-shot") == [0.4, 0.6, 0.5]
    assert means(four, "clip-lora") == pytest.approx([0.69, 0.64, 0.665])
    value = next(row for row in four.rows if row.label == "clip-lora").values[0]
    assert value is not None
    assert (value.seeds, value.spread) == (2, pytest.approx(0.1 / 2**0.5))
    conditions = "Draw: fewtune; prompts: each dataset's default; the model of the last step."
    assert four.notes == (conditions, "Not all 2 seeds: clip-lora.")
    assert [row.label for row in four.rows] == ["zero-shot", "clip-lora"]
    assert averages.columns == ("1", "4")
    assert means(averages, "clip-lora") == pytest.approx([0.635, 0.665])


def test_base_to_new_by_hand() -> None:
    protocol = BaseToNew(strategies=TWO, data=("a", "b"), seeds=(1, 2))
    base = {("a", 1): 0.8, ("a", 2): 0.9, ("b", 1): 0.6, ("b", 2): 0.7}
    new = {("a", 1): 0.5, ("a", 2): 0.7, ("b", 1): 0.3, ("b", 2): 0.5}
    known = []
    for case in protocol.cases():
        assert (case.classes, case.shots) == ("base", None if case.strategy == "zero-shot" else 16)
        if case.strategy == "clip-lora":
            place = (case.data, case.seed)
            known += [score(case, base[place]), score(case, new[place], case.elsewhere[0])]
        if case.strategy == "linear-probe":
            known.append(score(case, 0.9))
    average, of_a, of_b = protocol.tables(known)
    # Base (85 + 65) / 2 = 75, new (60 + 40) / 2 = 50: 2 * 75 * 50 / 125 = 60. The average of the
    # two harmonic means, 70.34 and 49.52, would be 59.93.
    assert means(average, "clip-lora") == [0.75, 0.5, 0.6]
    assert means(of_a, "clip-lora") == [0.85, 0.6, round(2 * 0.85 * 0.6 / 1.45, 6)]
    assert means(of_b, "clip-lora") == [0.65, 0.4, round(2 * 0.65 * 0.4 / 1.05, 6)]
    assert means(average, "linear-probe") == [0.9, None, None]
    # The published averages of zero-shot CLIP, 69.34 and 74.22, have 71.70.
    assert round(2 * 69.34 * 74.22 / (69.34 + 74.22), 2) == 71.70


def test_transfer_leaves_the_source_out_of_the_average() -> None:
    protocol = DomainShift(strategies=TWO, seeds=(1,))
    known = [
        score(case, top1, target)
        for case in protocol.cases()
        for target, top1 in zip((case.own, *case.elsewhere), (0.7, 0.6, 0.5, 0.4, 0.3), strict=True)
        if case.strategy == "clip-lora"
    ]
    (table,) = protocol.tables(known)
    assert table.columns[0] == "fewshot/imagenet"
    assert means(table, "clip-lora") == [0.7, 0.6, 0.5, 0.4, 0.3, 0.45]
    clipfit = [c for c in CrossDataset(strategies=("clipfit",)).cases() if c.strategy == "clipfit"]
    assert all(case.settings()["length"] == 10 and len(case.elsewhere) == 10 for case in clipfit)


def test_vtab_searches_first_and_breaks_ties_downwards() -> None:
    protocol = Vtab1k(strategies=("vpt-deep",), data=("vtab/dtd", "vtab/pcam"))
    search = [case for case in protocol.cases() if case.strategy == "vpt-deep"]
    assert len(search) == 2 * 40
    assert {(c.split, c.subset, c.options["resize"]) for c in search} == {("val", "800", "squash")}
    assert {c.options["lr"] for c in search} >= {50 / 4, 0.05 / 4}
    tops = {(2.5, 0.01): 0.6, (2.5, 0.0): 0.7, (0.25, 0.001): 0.7, (0.25, 0.01): 0.7}
    known = [
        score(c, tops.get((c.options["lr"], c.options["weight_decay"]), 0.1))
        for c in search
        if c.data == "vtab/dtd"
    ]
    assert all(c.split == "val" for c in protocol.cases(known[:-1]) if c.strategy == "vpt-deep")
    final = [c for c in protocol.cases(known) if c.split == "test" and c.strategy == "vpt-deep"]
    assert [c.seed for c in final] == [42, 44, 82, 100, 800]
    assert {(c.data, c.subset, c.shots) for c in final} == {("vtab/dtd", "1000", None)}
    assert {(c.options["lr"], c.options["weight_decay"]) for c in final} == {(0.25, 0.001)}
    found = final[0].chosen_by
    assert found is not None
    assert found["chosen"] == {"lr": 0.25, "weight_decay": 0.001}
    assert (found["protocol"], found["subset"], found["tied"]) == ("vtab-1k", "800", 3)
    assert len(found["trials"]) == 40
    (table,) = protocol.tables([*known, *(score(c, 0.5) for c in final)])
    assert means(table, "vpt-deep") == [0.5, None, None, 0.5, None, None]
    assert table.notes[1:] == ("vpt-deep on vtab/dtd: lr 0.25, weight_decay 0.001.",)


def test_vtab_goes_on_when_trials_fail() -> None:
    protocol = Vtab1k(strategies=("vpt-deep",), data=("vtab/dtd",), seeds=(1, 2))
    search = [case for case in protocol.cases() if case.split == "val"]
    broken = [Score(case=c, target=c.own, top1=None, error="it broke") for c in search]
    known = [*broken[1:], score(search[0], 0.1)]
    final = [c for c in protocol.cases(known) if c.split == "test" and c.strategy == "vpt-deep"]
    assert [c.options for c in final] == [search[0].options] * 2
    assert [why for _, why in protocol.failures(known)] == ["", ""]
    assert {c.split for c in protocol.cases(broken) if c.strategy == "vpt-deep"} == {"val"}
    failures = protocol.failures(broken)
    assert [case.seed for case, _ in failures] == [1, 2]
    assert failures[0][1].startswith("All 40 trials of the search failed")


def test_vtab_means_over_tasks_and_over_groups() -> None:
    protocol = Vtab1k(strategies=("clip-lora",), seeds=(1,))
    tops = {"natural": 0.7, "specialised": 0.8, "structured": 0.3}
    group_of = {task: group for group, tasks in GROUPS.items() for task in tasks}
    known = [score(c, tops[group_of[c.data]]) for c in protocol.cases()]
    (table,) = protocol.tables(known)
    mean = (7 * 0.7 + 4 * 0.8 + 8 * 0.3) / 19
    assert means(table, "clip-lora")[19:] == pytest.approx([mean, 0.7, 0.8, 0.3, 0.6], abs=1e-6)


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown strategy 'clip-lore'"):
        FewShot(strategies=("clip-lore",))
    with pytest.raises(ConfigError, match="a seed twice"):
        FewShot(seeds=(1, 1))
    with pytest.raises(ConfigError, match=r"has no 'shot'\. Did you mean 'shots'"):
        FewShot.of({"shot": 1}, "study.toml")
    with pytest.raises(ConfigError, match=r"study.toml: shots.0: .* found 'two'"):
        FewShot.of({"shots": ["two"]}, "study.toml")
    with pytest.raises(ConfigError, match=r"own needs data. Add --data"):
        Own.of({}, "own")
    with pytest.raises(ConfigError, match=r"does not train on 'fewshot/dt'.*Did you mean"):
        FewShot(options={"clip-lora": {"fewshot/dt": {"rank": 4}}})


def test_options_of_one_dataset_count_there() -> None:
    own = {"weight-decay": 0.1, "rank": 2, "vtab/clevr-count": {"rank": 4, "batch-size": 8}}
    protocol = FewShot(
        strategies=("clip-lora",), data=("vtab/clevr-count", "b"), options={"clip-lora": own}
    )
    found = {case.data: case.options for case in protocol.cases() if case.strategy == "clip-lora"}
    assert found["b"] == {"weight_decay": 0.1, "rank": 2}
    assert found["vtab/clevr-count"] == {"weight_decay": 0.1, "rank": 4, "batch_size": 8}
    assert FewShot.model_validate_json(protocol.model_dump_json()) == protocol
