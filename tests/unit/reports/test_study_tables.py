"""Records of a study become tables; the numbers are worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.core.errors import RunError
from fewtune.core.files import read_json, write_json
from fewtune.core.spec import Recipe
from fewtune.datasets.catalog import load
from fewtune.reports import study_classes, study_tables
from fewtune.reports.study_runs import load_runs, refuse_mixed
from fewtune.reports.tables import HOLE, ReportTable, TableCell, TableRow, as_csv, latex, markdown
from fewtune.strategies.coop import CoOp
from fewtune.sweeps.retention import RETENTION
from studies import Writer, study, texts

GROUPS = {"flowers": "natural", "spheres": "structured"}


def test_accuracy_has_zero_shot_first_means_spreads_marks_and_holes(runs: Path) -> None:
    table = study_tables.accuracy(study(runs), 4)
    assert table.header == ("", "flowers", "spheres", "average")
    assert texts(table) == {
        "Zero-shot CLIP": ["50.0", "10.0", "30.0"],
        "Linear probe": ["70.0 ± 14.1", "30.0 ± 14.1", "50.0"],
        "CLIP-Adapter": ["90.0", HOLE, HOLE],
    }
    assert [row.entries[0].mark for row in table.rows] == ["", "second", "best"]


def test_what_a_deviation_and_few_test_images_leave_open_is_said(runs: Path, write: Writer) -> None:
    table = study_tables.accuracy(study(runs), 4)
    assert "± is the sample standard deviation over seeds." in table.notes[0]
    # Wilson's interval of 5 of 10 is 23.7 to 76.3 %.
    assert table.notes[1] == (
        "95 % interval of a top-1: up to ± 26.3 points (flowers, 10 test images)."
    )
    write.run("zero-shot", "flowers", 0.4, data="other prompts")
    mixed = study_tables.accuracy(study(runs), 4)
    assert "over seeds, images or prompts." in mixed.notes[0]


def test_gains_are_paired_with_zero_shot_and_the_probe_by_group(runs: Path) -> None:
    four, one = (study_tables.gains(study(runs), GROUPS, shots) for shots in (4, 1))
    assert texts(four) == {
        "Linear probe": ["vision", "+20.0", HOLE, "+20.0", HOLE],
        "CLIP-Adapter": ["vision-language", "+40.0", "+20.0", HOLE, HOLE],
    }
    assert [row.entries[1].mark for row in four.rows] == ["second", "best"]
    assert texts(one) == {"CLIP-Adapter": ["vision-language", "+10.0", HOLE, HOLE, HOLE]}


def test_modalities_are_compared_where_both_were_run(runs: Path, write: Writer) -> None:
    write.run("clip-adapter", "flowers", 0.8, options={"type": "vision"})
    titles = [method.title for method in study(runs).methods[2:]]
    assert titles == ["CLIP-Adapter (vision)", "CLIP-Adapter (vision-language)"]
    table = study_tables.modalities(study(runs), {**GROUPS, "flowers-base": "natural"})
    assert table.header[2:5] == tuple(
        f"natural: {of}" for of in ("vision-language", "vision", "difference")
    )
    assert texts(table) == {"CLIP-Adapter": ["4", "+40.0", "+30.0", "+10.0", HOLE, HOLE, HOLE]}


def test_efficiency_counts_minutes_and_takes_no_mean_over_a_hole(runs: Path) -> None:
    found = texts(study_tables.efficiency(study(runs)))
    assert found["Zero-shot CLIP"] == ["10", HOLE, "5", "30.0"]
    assert found["Linear probe"] == ["10", "1.00", "5", "50.0"]
    assert found["CLIP-Adapter"] == ["10", "1.00", "5", HOLE]


def test_retention_is_the_mean_change_on_other_tasks(write: Writer) -> None:
    write.run("zero-shot", "flowers", 0.5)
    for seed, after in ((1, 0.2), (2, 0.4)):
        folder = write.run("clip-adapter", "flowers", 0.6, seed=seed)
        write_json(folder / RETENTION, {"spheres": {"before": 0.5, "after": after}})
    found = study(write.folder)
    row = ["−20.0", "50.0", "30.0", "−20.0"]
    assert texts(study_tables.retention(found)) == {"CLIP-Adapter": row}
    accuracy = study_tables.accuracy(found, 4)
    assert accuracy.header[-1] == "on other tasks"
    assert [row.entries[-1].text for row in accuracy.rows] == [HOLE, "−20.0"]


def test_zero_shot_carries_a_mark_where_the_order_of_classes_is_unproven(write: Writer) -> None:
    folder = write.run("zero-shot", "vtab-dmlab", 0.2)
    record = read_json(folder / "record.json")
    record["task"]["notes"] = load("vtab/dmlab").notes
    write_json(folder / "record.json", record)
    write.run("linear-probe", "vtab-dmlab", 0.4)
    table = study_tables.accuracy(study(write.folder), 4)
    assert texts(table) == {"Zero-shot CLIP": ["20.0 †"], "Linear probe": ["40.0"]}
    assert table.notes[-1].startswith("† class order unproven")


def test_methods_of_one_strategy_are_told_apart(write: Writer) -> None:
    write.run("linear-probe", "flowers", 0.5)
    write.run("linear-probe", "flowers", 0.6, recipe=Recipe(lr=0.5))
    write.run("linear-probe", "flowers", 0.6, steps_scale=0.25, recipe=Recipe(lr=0.5))
    titles = [row.title for row in study_tables.accuracy(study(write.folder), 4).rows]
    assert titles == [
        "Linear probe (lr=0.001)",
        "Linear probe (lr=0.5)",
        "Linear probe (lr=0.5) ×0.25 steps",
    ]


def test_a_recipe_that_depends_on_shots_or_task_is_one_method(write: Writer) -> None:
    for shots in (1, 4, 16):
        write.run("coop", "flowers", 0.5, recipe=CoOp().recipe_for(shots), shots=shots)
    longer = CoOp().recipe_for(4).model_copy(update={"length": 50})
    write.run("coop", "spheres", 0.7, recipe=longer)
    found = study(write.folder)
    assert [method.title for method in found.methods] == ["CoOp"]
    assert found.methods[0].varies == ("length",)
    table = study_tables.accuracy(found, 4)
    assert texts(table) == {"CoOp": ["50.0", "70.0", "60.0"]}
    assert "Settings that depend on task or shots: CoOp (length)." in table.notes


def test_one_length_for_all_stands_in_titles(write: Writer) -> None:
    for strategy in ("linear-probe", "clip-adapter"):
        write.run(strategy, "flowers", 0.5, steps_scale=0.1)
    table = study_tables.accuracy(study(write.folder), 4)
    assert table.title == "Accuracy, 4 shots, × 0.1 steps"
    assert [row.title for row in table.rows] == ["Linear probe", "CLIP-Adapter"]


def test_mixed_versions_and_data_are_refused(write: Writer) -> None:
    write.run("linear-probe", "flowers", 0.5)
    write.run("linear-probe", "flowers", 0.5, seed=2, data="others")
    with pytest.raises(RunError, match="2 different sets of images"):
        refuse_mixed(load_runs([write.folder])[0])
    write.run("linear-probe", "spheres", 0.5, version="2")
    with pytest.raises(RunError, match="several versions of fewtune: 1, 2"):
        refuse_mixed(load_runs([write.folder])[0])


def test_unfinished_damaged_and_search_runs_are_named(write: Writer) -> None:
    write.run("linear-probe", "flowers", 0.5)
    (write.run("linear-probe", "flowers", 0.5, seed=2) / "record.json").unlink()
    damaged = write.run("linear-probe", "flowers", 0.5, seed=3)
    (damaged / "record.json").write_text('{"spec": 3}')
    write.run("linear-probe", "flowers-val", 0.9, notes=["scored on validation images"])
    runs, notes = load_runs([write.folder])
    assert [run.spec["seed"] for run in runs] == [1]
    assert notes == [
        "1 incomplete run left out",
        "1 run of a search left out: scored on validation images",
        f"unreadable, left out: {damaged.name}",
    ]
    with pytest.raises(RunError, match="no complete runs"):
        load_runs([damaged])


def test_confusions_are_means_over_seeds_of_the_best_method(write: Writer) -> None:
    write.run("zero-shot", "flowers", 0.5, predictions=[(0, 0), (0, 1), (1, 0), (1, 0)])
    write.run("linear-probe", "flowers", 0.5, predictions=[(0, 1)])
    for seed, last in ((1, 0), (2, 1)):
        pairs = [(0, 0), (0, 1), (1, 1), (1, last)]
        write.run("clip-adapter", "flowers", 0.7, seed=seed, predictions=pairs)
    of = study(write.folder)
    found = study_classes.confusions_on(of, "flowers")
    assert found is not None
    assert texts(study_classes.largest(of, "flowers", found)) == {
        "a & b → c_d": ["50.0", "50.0"],
        "c_d → a & b": ["100.0", "25.0"],
    }
    assert found.after.share(1, 1) == 0.75
    write.run("clip-adapter", "flowers", 0.9, seed=3)  # a run without its predictions
    assert study_classes.confusions_on(study(write.folder), "flowers") is None


def test_tables_escape_what_their_format_reads() -> None:
    row = TableRow("x | y & z", (TableCell("−1.0 ± 2", "best"),))
    table = ReportTable("n", "t", ("", "a_b"), (row,), ("50 % {}.",))
    assert r"| x \| y & z | **−1.0 ± 2** |" in markdown(table)
    assert r"x | y \& z & \textbf{$-$1.0 $\pm$ 2} \\" in latex(table)
    assert r"a\_b" in latex(table)
    assert as_csv(table) == ",a_b\nx | y & z,−1.0 ± 2\n"
