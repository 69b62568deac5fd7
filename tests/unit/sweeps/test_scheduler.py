"""Sources, the scheduler and runners: what is asked for when, made once, and continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fewtune.core.errors import DataError, RunError
from fewtune.core.files import read_json, write_json
from fewtune.core.lock import locked
from fewtune.core.protocol import Case
from fewtune.core.splits import part_of
from fewtune.protocols.base_to_new import BaseToNew
from fewtune.protocols.vtab_1k import Vtab1k
from fewtune.reports.protocol_tables import protocol_tables, remember
from fewtune.sweeps import runner
from fewtune.sweeps.grid import Grid
from fewtune.sweeps.runner import Outcome, Runner, SweepRun, attempt, in_process, run_of
from fewtune.sweeps.scheduler import PreparedCase, Progress, Scheduler, execute
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.job import Job
from fewtune.training.named_recipes import configure
from fewtune.training.tracking import Tracker

TOP1 = {0.1: 0.25, 0.2: 0.75, 0.3: 0.75}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("scheduler") / "clip", blocks=1)


@pytest.fixture
def prepare(backbone: Path, tmp_path: Path) -> Callable[[Case], PreparedCase]:
    whole = tiny_task(classes=4)

    def prepared(case: Case) -> PreparedCase:
        if case.data == "missing":
            raise DataError("There is nothing.", hint="Get it.")
        strategy, recipe = configure(case.strategy, case.options, case.shots)
        job = Job.of(
            strategy,
            part_of(whole, case.classes, case.split),
            str(backbone),
            recipe,
            shots=case.shots,
            seed=case.seed,
            device="cpu",
            precision="fp32",
            threads=1,
            runs=tmp_path,
            chosen_by=case.chosen_by,
        )
        targets = {t: part_of(whole, t.classes, t.split) for t in case.elsewhere}
        return PreparedCase(job, targets)

    return prepared


def fake(made: list[SweepRun], stop_after: int = 1000) -> Runner:
    """A runner that writes a score by the learning rate, and is interrupted after some runs."""

    def runner(wanted: Sequence[SweepRun]) -> Iterator[Outcome]:
        for run in wanted:
            if len(made) == stop_after:
                raise KeyboardInterrupt
            assert not (run.folder / "record.json").exists()
            recipe = run.spec.recipe
            top1 = TOP1[recipe.lr] if recipe else 0.5
            record: dict[str, Any] = {
                "metrics": {"top1": top1},
                "cost": {"total_s": 5.0, "training_s": 3.0, "steps": 3},
                "plan": {"steps_scale": 1.0},
                "task": {"images": {"test": 100}},
                "spec": run.spec.model_dump(mode="json"),
            }
            write_json(run.folder / "spec.json", {"format": 1, **record["spec"]})
            write_json(run.folder / "record.json", record)
            made.append(run)
            yield Outcome(run, record, "", 3.0)

    return runner


def sweep_of(
    source: runner.Source, prepare: Callable[[Case], PreparedCase], runs: Path
) -> tuple[Scheduler, Progress]:
    scheduler = Scheduler(source, prepare, runs)
    return scheduler, Progress(scheduler.advance())


def probe_and_zero_shot(
    prepare: Callable[[Case], PreparedCase], runs: Path
) -> tuple[Progress, SweepRun, SweepRun]:
    grid = Grid(tuple({"strategy": s, "data": "tiny"} for s in ("linear-probe", "zero-shot")))
    _, progress = sweep_of(grid, prepare, runs)
    probe, zero_shot = sorted(progress.every, key=lambda run: run.spec.strategy)
    return progress, probe, zero_shot


def test_a_search_comes_first_and_decides_and_an_interruption_repeats_nothing(
    prepare: Callable[[Case], PreparedCase], tmp_path: Path
) -> None:
    protocol = Vtab1k(
        strategies=("linear-probe",),
        data=("vtab/dtd",),
        seeds=(1, 2),
        grid={"linear-probe": [{"lr": lr} for lr in (0.3, 0.1, 0.2)]},
    )
    made: list[SweepRun] = []
    scheduler, progress = sweep_of(protocol, prepare, tmp_path)
    assert len(progress.every) == 1 + 3
    assert scheduler.remaining() == 2
    with pytest.raises(KeyboardInterrupt):
        execute(scheduler, progress, fake(made, 2), lambda _: None)
    scheduler, progress = sweep_of(protocol, prepare, tmp_path)
    assert len(progress.left()) == 2
    with pytest.raises(KeyboardInterrupt):
        execute(scheduler, progress, fake(made, 5), lambda _: None)
    scheduler, progress = sweep_of(protocol, prepare, tmp_path)
    assert (len(progress.every), len(progress.left()), scheduler.remaining()) == (6, 1, 0)
    assert progress.remaining_s() == 2.0 + progress.left()[0].steps()
    execute(scheduler, progress, fake(made), lambda _: None)
    assert len({run.folder for run in made}) == len(made) == 6
    search, final = made[1:4], made[4:]
    assert {run.job.task.scored_on for run in search} == {"val"}
    assert {run.spec.seed for run in final} == {1, 2}
    assert {run.spec.recipe.lr for run in final if run.spec.recipe} == {0.2}
    assert all(run.job.chosen_by for run in final)
    remember(protocol, scheduler)
    (table,) = protocol_tables([tmp_path])
    assert [row.title for row in table.rows] == ["Zero-shot CLIP", "Linear probe"]
    assert [entry.text for entry in table.rows[1].entries] == ["75.0 ± 0.0", *["75.0"] * 3]


def test_what_has_no_data_is_a_failure_and_the_others_go_on(
    prepare: Callable[[Case], PreparedCase], tmp_path: Path
) -> None:
    grid = Grid(tuple({"strategy": "zero-shot", "data": d} for d in ("missing", "here", "here")))
    made: list[SweepRun] = []
    scheduler, progress = sweep_of(grid, prepare, tmp_path)
    execute(scheduler, progress, fake(made), lambda _: None)
    assert len(made) == 1
    (failure,) = tmp_path.glob("zero-shot-missing-*/failure.json")
    assert read_json(failure)["error"] == "There is nothing. Get it."
    assert [bool(score.error) for score in scheduler.scores()] == [True, False]
    grid = Grid(({"strategy": "zero-shot", "data": "missing"},))
    later, _ = sweep_of(
        grid, lambda case: prepare(case.model_copy(update={"data": "here"})), tmp_path
    )
    later.store_missing()
    assert not failure.parent.exists()


def test_runs_are_scored_elsewhere_once_and_bound_classes_leave_a_hole(
    prepare: Callable[[Case], PreparedCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"length": 2, "length_unit": "steps"}
    protocol = BaseToNew(
        strategies=("clip-adapter", "linear-probe"),
        data=("tiny",),
        shots=1,
        seeds=(1,),
        options=dict.fromkeys(("clip-adapter", "linear-probe"), short),
    )
    scheduler, progress = sweep_of(protocol, prepare, tmp_path)
    execute(scheduler, progress, in_process(Tracker()), lambda _: None)
    assert not progress.left()
    tops = {
        folder.parent.name.partition("-tiny")[0]: score["top1"]
        for folder in tmp_path.glob("*/elsewhere.json")
        for score in read_json(folder).values()
    }
    assert tops.keys() == {"zero-shot", "clip-adapter", "linear-probe"}
    assert tops["linear-probe"] is None
    there = prepare(Case(strategy="zero-shot", data="tiny", classes="new"))
    own = attempt(run_of(there.job), Tracker()).record
    assert own is not None
    assert tops["zero-shot"] == own["metrics"]["top1"]
    remember(protocol, scheduler)
    (table,) = protocol_tables([tmp_path])
    assert table.rows[2].entries[1].text == "–"
    monkeypatch.setattr("fewtune.sweeps.transfer.load_run", None)  # nothing is left to be loaded
    assert all(run.status() == "done" for run in progress.every)
    assert not any(attempt(run, Tracker()).error for run in progress.every)


def test_what_another_process_makes_is_waited_for(
    prepare: Callable[[Case], PreparedCase], tmp_path: Path
) -> None:
    progress, first, second = probe_and_zero_shot(prepare, tmp_path)
    runner = in_process(Tracker(), poll_s=0.01)
    with locked(first.folder, wait=False):
        outcomes = runner([first, second])
        busy = next(outcomes)
        progress.add(busy)
        assert (busy.busy, progress.status[first.folder]) == (True, "busy")
        assert next(outcomes).run == second
        write_json(first.folder / "spec.json", {"format": 1, **first.spec.model_dump(mode="json")})
        record = {"metrics": {"top1": 1.0}, "cost": {"total_s": 1, "training_s": 1, "steps": 1}}
        write_json(first.folder / "record.json", record)
    (ended,) = outcomes
    assert ended.record == record


def test_runs_without_steps_say_nothing_of_how_long_steps_take(
    prepare: Callable[[Case], PreparedCase], tmp_path: Path
) -> None:
    progress, trained, untrained = probe_and_zero_shot(prepare, tmp_path)
    cost = {"total_s": 4.0, "training_s": 0.5, "steps": 0}
    progress.add(Outcome(untrained, {"cost": cost}, "", 4.0))
    assert progress.remaining_s() is None
    progress.add(Outcome(trained, {"cost": cost | {"steps": 10}}, "", 4.0))
    assert progress.seconds("clip-lora", 20) == 3.5 + 20 * 0.05


def test_batched_runs_are_ordinary_runs_and_failures_are_their_own(
    prepare: Callable[[Case], PreparedCase], tmp_path: Path
) -> None:
    cells = [
        {"strategy": "linear-probe", "data": "tiny", "shots": 1, "lr": lr, "weight-decay": decay,
         "length": 8, "length-unit": "steps", "optimizer": "sgd"}
        for lr, decay in ((0.1, 0), (0.2, 0), (1e6, 1e6))
    ]  # fmt: skip
    scheduler, progress = sweep_of(Grid(tuple(cells)), prepare, tmp_path)
    outcomes: list[Outcome] = []
    execute(scheduler, progress, in_process(Tracker(), batched=True), outcomes.append)
    at_once = [o.record["cost"].get("runs_at_once") for o in outcomes if o.record]
    assert at_once == [3, 3]
    assert ["Lower the learning rate" in o.error for o in outcomes if o.error] == [True]
    assert [bool(score.error) for score in scheduler.scores()] == [False, False, True]


def test_an_unreadable_protocol_file_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "protocol.json", {"protocols": [{"protocol": "few-shot"}]})
    with pytest.raises(RunError, match="is not what `fewtune sweep` writes"):
        protocol_tables([tmp_path])
