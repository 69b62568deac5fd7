"""Records of a study become tables, figures and a page; the numbers are worked out by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet
import pytest

from fewtune.bench import tables
from fewtune.bench.published import scores
from fewtune.bench.report import write_report
from fewtune.bench.results import RETENTION, Study, group, load_runs, refuse_mixed
from fewtune.core.discovery import plugins
from fewtune.core.errors import RunError
from fewtune.core.files import read_json, write_json
from fewtune.core.spec import ZERO_SHOT, Recipe, Spec
from fewtune.datasets.catalog import groups, load

METRICS = ("top1", "top5", "recall", "f1", "calibration_error")
GROUPS = {"flowers": "natural", "spheres": "structured"}


@dataclass(frozen=True)
class Writer:
    """Writes runs as an engine would."""

    folder: Path

    def run(
        self,
        strategy: str,
        task: str,
        top1: float,
        *,
        seed: int = 1,
        version: str = "1",
        **changes: object,
    ) -> Path:
        recipe = None if strategy == ZERO_SHOT else Recipe()
        options = {} if strategy != "linear-probe" else {"type": "vision"}
        spec = Spec(
            strategy=strategy, version=1, options=options, recipe=recipe, task=task, data=task,
            backbone="tiny", revision="r", precision="fp32", shots=4, seed=seed,
        ).model_copy(update=changes)  # fmt: skip
        spec = spec if recipe else spec.untrained()
        folder = self.folder / spec.folder()
        value = spec.model_dump(mode="json")
        record = {
            "spec": value,
            "hash": spec.hash(),
            "plan": {"steps_scale": spec.steps_scale},
            "environment": {"fewtune": version, "torch": "2", "processor": "abacus"},
            "task": {"classes": ["a & b", "c_d"], "notes": [], "images": {"test": 10}},
            "metrics": dict.fromkeys(METRICS, top1),
            "per_class": [top1, None],
            "cost": {"trained_parameters": 10, "steps": 2, "training_s": 60, "peak_memory_mib": 5},
        }  # fmt: skip
        folder.mkdir(parents=True)
        write_json(folder / "spec.json", value)
        write_json(folder / "record.json", record)
        return folder


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "runs")


@pytest.fixture
def runs(write: Writer) -> Path:
    for task, zero in (("flowers", 0.5), ("spheres", 0.1)):
        write.run(ZERO_SHOT, task, zero)
        for seed, top1 in ((1, zero + 0.1), (2, zero + 0.3)):
            write.run("linear-probe", task, top1, seed=seed)
    for shots, top1 in ((4, 0.9), (1, 0.6)):
        write.run("clip-adapter", "flowers", top1, shots=shots)
    return write.folder


def study(*places: Path) -> Study:
    found, notes = load_runs(places)
    (only,) = group(found, notes)
    return only


def texts(table: tables.Table) -> dict[str, list[str]]:
    return {title: [entry.text for entry in entries] for title, entries in table.rows}


def test_accuracy_has_zero_shot_first_means_spreads_marks_and_holes(runs: Path) -> None:
    table = tables.accuracy(study(runs), 4)
    assert table.header == ("", "flowers", "spheres", "average")
    assert texts(table) == {
        "Zero-shot CLIP": ["50.0", "10.0", "30.0"],
        "Linear probe": ["70.0 ± 14.1", "30.0 ± 14.1", "50.0"],
        "CLIP-Adapter": ["90.0", tables.HOLE, tables.HOLE],
    }
    assert [entries[0].mark for _, entries in table.rows] == ["", "second", "best"]


def test_published_scores_stand_beside_ours_and_differences_are_named(write: Writer) -> None:
    here = {"backbone": "ViT-B16"}
    write.run(ZERO_SHOT, "fewshot-dtd", 0.436, **here)
    write.run("clip-lora", "fewshot-dtd", 0.60, **here)
    write.run("clip-lora", "fewshot-dtd", 0.59, shots=2, **here)
    four, two = (tables.accuracy(study(write.folder), shots) for shots in (4, 2))
    assert texts(four)["Zero-shot CLIP, published"] == ["43.6"]
    assert texts(four)["CLIP-LoRA, published"] == ["63.8"]
    assert "Differs: CLIP-LoRA on fewshot-dtd has 60.0, published 63.8." in four.notes
    assert texts(two)["CLIP-LoRA, published"] == ["59.6 to 60.2"]  # a band: it was digitised
    assert not any("Differs" in note for note in two.notes)


def test_published_scores_are_of_strategies_and_tasks_that_exist() -> None:
    for strategy, _, task, _ in scores():
        assert strategy in plugins("strategies")
        assert task in groups()


def test_gains_are_paired_with_zero_shot_and_the_probe_by_group(runs: Path) -> None:
    found = texts(tables.gains(study(runs), GROUPS))
    hole = tables.HOLE
    assert found["Linear probe, vision, 4 shots"] == ["+20.0", hole, "+20.0", hole]
    assert found["CLIP-Adapter, vision-language, 4 shots"] == ["+40.0", "+20.0", hole, hole]
    assert found["CLIP-Adapter, vision-language, 1 shot"] == ["+10.0", hole, hole, hole]


def test_efficiency_counts_minutes(runs: Path) -> None:
    assert texts(tables.efficiency(study(runs)))["Linear probe"] == ["10", "1.00", "5", "50.0"]


def test_retention_is_the_mean_change_on_other_tasks(write: Writer) -> None:
    write.run(ZERO_SHOT, "flowers", 0.5)
    for seed, after in ((1, 0.2), (2, 0.4)):
        folder = write.run("clip-adapter", "flowers", 0.6, seed=seed)
        write_json(folder / RETENTION, {"spheres": {"before": 0.5, "after": after}})
    table = tables.retention(study(write.folder))
    assert texts(table) == {"CLIP-Adapter": ["−20.0", "−20.0"]}


def test_zero_shot_carries_a_mark_where_the_order_of_classes_is_unproven(write: Writer) -> None:
    folder = write.run(ZERO_SHOT, "vtab-dmlab", 0.2)
    record = read_json(folder / "record.json")
    record["task"]["notes"] = load("vtab/dmlab").notes
    write_json(folder / "record.json", record)
    write.run("linear-probe", "vtab-dmlab", 0.4)
    table = tables.accuracy(study(write.folder), 4)
    assert texts(table) == {"Zero-shot CLIP": ["20.0 †"], "Linear probe": ["40.0"]}
    assert table.notes[-1].startswith("† class order unproven")


def test_methods_of_one_strategy_are_told_apart(write: Writer) -> None:
    write.run("linear-probe", "flowers", 0.5)
    write.run("linear-probe", "flowers", 0.6, recipe=Recipe(lr=0.5))
    write.run("linear-probe", "flowers", 0.6, steps_scale=0.25, recipe=Recipe(lr=0.5))
    titles = [title for title, _ in tables.accuracy(study(write.folder), 4).rows]
    assert titles == [
        "Linear probe (lr=0.001)",
        "Linear probe (lr=0.5)",
        "Linear probe (lr=0.5) ×0.25 steps",
    ]


def test_mixed_versions_and_data_are_refused(write: Writer) -> None:
    write.run("linear-probe", "flowers", 0.5)
    write.run("linear-probe", "flowers", 0.5, seed=2, data="others")
    with pytest.raises(RunError, match="2 different sets of images"):
        refuse_mixed(load_runs([write.folder])[0])
    write.run("linear-probe", "spheres", 0.5, version="2")
    with pytest.raises(RunError, match="several versions of fewtune: 1, 2"):
        refuse_mixed(load_runs([write.folder])[0])


def test_unfinished_and_damaged_runs_are_named(write: Writer) -> None:
    write.run("linear-probe", "flowers", 0.5)
    (write.run("linear-probe", "flowers", 0.5, seed=2) / "record.json").unlink()
    damaged = write.run("linear-probe", "flowers", 0.5, seed=3)
    (damaged / "record.json").write_text('{"spec": 3}')
    runs, notes = load_runs([write.folder])
    assert len(runs) == 1
    assert notes == ["1 incomplete run left out", f"unreadable, left out: {damaged.name}"]
    with pytest.raises(RunError, match="no complete runs"):
        load_runs([damaged])


def test_tables_escape_what_their_format_reads(runs: Path) -> None:
    table = tables.Table(
        "n", "t", ("", "a_b"), (("x | y & z", (tables.Entry("−1.0 ± 2", "best"),)),)
    )
    assert r"| x \| y & z | **−1.0 ± 2** |" in tables.markdown(table)
    assert r"x | y \& z & \textbf{$-$1.0 $\pm$ 2} \\" in tables.latex(table)
    assert r"a\_b" in tables.latex(table)


def test_the_report_is_self_contained_and_repeats_byte_for_byte(runs: Path, tmp_path: Path) -> None:
    first, second = (write_report([runs], tmp_path / name, GROUPS) for name in ("one", "two"))
    for file in sorted(first.parent.iterdir()):
        assert file.read_bytes() == (second.parent / file.name).read_bytes(), file.name
    page = first.read_text(encoding="utf-8")
    linked = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith(("#", "data:")) for link in linked)
    assert page.count("<svg") == 5  # curves, gains, cost, and a heat map for each task
    assert (first.parent / "runs.csv").read_text().count("\n") == 1 + 8
    assert pyarrow.parquet.read_table(first.parent / "runs.parquet").num_rows == 8
    assert "![Accuracy against shots](tiny-shots.svg)" in (first.parent / "report.md").read_text()
