"""What the command line does, from Python: the same values, the same checks, the same folders.

    result = fewtune.fit("photos", "clip-lora", shots=16, rank=4)
    result.record["metrics"]["top1"], result.zero_shot["metrics"]["top1"]
    fewtune.predict(result.folder, ["new.jpg"])

Keyword arguments are the fields of `core.run_config.RunConfig`, and those of the strategy and of
its recipe. Nothing is printed: a `DataListener` is told what is found about images, a `Tracker`
follows the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.core.defaults import DEFAULT_STRATEGY
from fewtune.core.errors import ConfigError, DataError
from fewtune.core.fields import parse_values
from fewtune.core.protocol import Protocol
from fewtune.core.run_config import AskedPrecision, RunConfig, for_python
from fewtune.core.task import Task
from fewtune.core.toml import read_toml
from fewtune.data.verify import DataListener, repair
from fewtune.datasets.catalog import groups, resolve
from fewtune.model.load_strategy import declared_strategy
from fewtune.sweeps.place import SweepPlace
from fewtune.sweeps.sources import SweepFile
from fewtune.training.find_runs import find_run
from fewtune.training.finished import find_finished
from fewtune.training.job import Job, Result
from fewtune.training.prepare import Preparation
from fewtune.training.run_folder import RunFolder
from fewtune.training.tracking import Tracker, Trackers, make_tracker

# What needs torch is imported where it is used, so that refusals come before it.
if TYPE_CHECKING:
    from fewtune.reports.tables import ReportTable
    from fewtune.sweeps.make_runs import Sweep
    from fewtune.training.evaluation import Evaluation
    from fewtune.training.prediction import Prediction


@for_python
def fit(
    data: str | Path | Task,
    strategy: str = DEFAULT_STRATEGY,
    *,
    final: bool = False,
    listener: DataListener | None = None,
    follow: Tracker | None = None,
    **settings: Any,
) -> Result:
    """Tune a strategy on images, compare it with zero-shot, and return the run.

    A run that is complete already is returned as it is; an interrupted one is continued.

    Args:
        data: A folder, a table or the name of a dataset, or a task in memory.
        strategy: A name of `fewtune list strategies`.
        final: Then train on all images, test images too; `Result.final` is the folder.
        listener: Told what is found about images.
        follow: Follows the run.
        settings: Fields of `RunConfig` (shots, seed, backbone, runs, device, precision, threads
            ...), of the strategy and of its recipe.

    Raises:
        ConfigError: A value is wrong, or the images do not fit it.
        DataError: The images cannot be used.
        RunError: Training failed, or the folder cannot be written.
    """
    every = fit_seeds(
        data, strategy, seeds=(), final=final, listener=listener, follow=follow, **settings
    )
    return every[0]


@for_python
def fit_seeds(
    data: str | Path | Task,
    strategy: str = DEFAULT_STRATEGY,
    *,
    seeds: Sequence[int],
    final: bool = False,
    listener: DataListener | None = None,
    follow: Tracker | None = None,
    **settings: Any,
) -> list[Result]:
    """Make a run for each seed, those of feature-level methods in one program.

    Args are those of `fit`; a final model has one seed.

    Raises:
        ConfigError, DataError, RunError: As of `fit`.
    """
    task = data if isinstance(data, Task) else None
    named = {} if isinstance(data, Task) else {"data": data}
    config = RunConfig.of({**named, "strategy": strategy, **settings})
    tracker = Trackers([follow or Tracker(), make_tracker(config.tracker)])
    if final and seeds:
        raise ConfigError(
            "--final makes one model, but --seeds names several seeds.",
            hint="Measure with --seeds; then make the final model of one seed.",
        )
    preparation = Preparation(listener, _write_card)
    jobs = [
        preparation.job(config.changed(seed=seed), task, load=declared_strategy)
        for seed in seeds or (config.seed,)
    ]
    if final:
        return [_make_final(jobs[0], preparation, tracker)]
    return _find_or_make(jobs, tracker)


def _find_or_make(jobs: Sequence[Job], tracker: Tracker) -> list[Result]:
    results = [result for job in jobs if (result := find_finished(job)) is not None]
    if len(results) == len(jobs):
        return results
    from fewtune.training.forecast import forecast
    from fewtune.training.run import run
    from fewtune.training.vmapped.vmapped_runs import run_vmapped

    loaded = [job.loaded() for job in jobs]
    if len(loaded) > 1:
        return run_vmapped(loaded, tracker)
    tracker.forecast(lambda: forecast(loaded[0]))
    return [run(loaded[0], tracker)]


def _make_final(job: Job, preparation: Preparation, tracker: Tracker) -> Result:
    from fewtune.training.final import refuse_final, train_final

    refuse_final(job)
    result = _find_or_make([job], tracker)[0]
    return replace(result, final=train_final(job, result, preparation, tracker))


def _write_card(*what: Any) -> None:
    from fewtune.reports.model_card import write_card

    write_card(*what)


@for_python
def predict(
    run: str | Path,
    images: Iterable[Any],
    *,
    top: int = 1,
    batch: int = 64,
    device: str = "auto",
    precision: AskedPrecision = "auto",
    threads: int | None = None,
    backbone: str | None = None,
) -> list[Prediction]:
    """Return what a run says of images, in their order.

    Args:
        run: A run's folder, or its name or hash in ./runs.
        images: Paths, PIL images, encoded bytes or arrays (H, W[, C]) of uint8. One path, not in a
            list, may also be a folder or a pattern: all images behind it are meant.
        top: Classes to name for each image.
        batch: Images at a time.
        precision: "auto" is that of the run.
        threads: CPU threads; None as torch chooses.
        backbone: Where the run's backbone is now, if it has moved.

    Raises:
        DataError: `images` is a path where nothing is, or one image that is no path.
        RunError, AdapterError: As of `load_run`.
    """
    from fewtune.data.image_paths import expand
    from fewtune.training import prediction
    from fewtune.training.load_run import load_run

    if isinstance(images, str | Path):
        images = expand([images])
    elif isinstance(images, bytes) or hasattr(images, "getbands") or getattr(images, "ndim", 4) < 4:
        raise DataError("images is a single image.", hint="Put it into a list: [image].")
    tuned = load_run(find_run(run), device, precision, threads, backbone)
    return list(prediction.predict(tuned, images, batch, top))


@for_python
def evaluate(
    run: str | Path,
    data: str | Path | Task,
    *,
    root: Path | None = None,
    new_classes: bool = False,
    listener: DataListener | None = None,
    device: str = "auto",
    precision: AskedPrecision = "auto",
    threads: int | None = None,
    backbone: str | None = None,
) -> Evaluation:
    """Measure a run on other images, next to zero-shot; those it has learned from are left out.

    Args:
        run: As of `predict`.
        data: As of `fit`; its test images, or all where it has none.
        root: Folder that holds datasets by name.
        new_classes: Choose among the classes of the data, not among those of training.

    Raises:
        ConfigError, DataError: The data cannot be used, or has a class that the run does not know.
        RunError, AdapterError: As of `load_run`.
    """
    folder = find_run(run)
    RunFolder(folder).record()  # refused before torch is loaded
    task = data if isinstance(data, Task) else resolve(data, root=root)
    if not task.benchmark and not isinstance(data, Task):
        task = repair(task, Preparation(listener).check(task, None))
    from fewtune.training.evaluation import evaluate_run
    from fewtune.training.load_run import load_run

    tuned = load_run(folder, device, precision, threads, backbone)
    return evaluate_run(tuned, folder, task, new_classes)


@for_python
def export(
    run: str | Path,
    to: str,
    out: str | Path,
    images: Sequence[str | Path] = (),
    *,
    backbone: str | None = None,
    threads: int | None = None,
) -> Path:
    """Write a run for other programs to the new folder `out`; see `fewtune.exports.export_run`."""
    from fewtune.exports import export_run

    return export_run(find_run(run), to, Path(out), [Path(i) for i in images], backbone, threads)


@dataclass(frozen=True)
class SweepResult:
    """A sweep that was made.

    Attributes:
        folders: Of the complete runs.
        failed: Why a run failed or could not be made, a line for each reason.
        tables: Of the protocol; () for a grid.
    """

    folders: tuple[Path, ...]
    failed: tuple[str, ...]
    tables: tuple[ReportTable, ...]


@for_python
def sweep(
    what: str | Path,
    *,
    retention: bool = False,
    cards: bool = False,
    listener: DataListener | None = None,
    follow: Tracker | None = None,
    **settings: Any,
) -> SweepResult:
    """Make the runs of a protocol or of a sweep file, each once.

    Args:
        what: Name of a protocol, or a TOML file.
        retention: Measure each run on the other tasks too.
        cards: Write a card and a picture for each run too.
        settings: Fields of `SweepPlace` (runs, on, workers ...), of the protocol (strategies, data,
            shots, seeds ...) or axes of the file, and of `RunConfig` for all runs.

    Raises:
        ConfigError: A value is wrong; no run has been made then.
        DataError: There is no run whose data are here.
    """
    from fewtune.reports.protocol_tables import remembered, tables_of_protocol

    planned = plan_sweep(SweepFile.of(what), settings, listener, cards=cards)
    with remembered(planned.source, planned.scheduler):
        planned.make(follow)
    if retention:
        planned.measure_retention()
    source = planned.source
    tables = (
        tables_of_protocol(source, planned.place.folder) if isinstance(source, Protocol) else []
    )
    return SweepResult(planned.complete_folders(), tuple(planned.failures()), tuple(tables))


def plan_sweep(
    file: SweepFile, settings: Mapping[str, Any], listener: DataListener | None, *, cards: bool
) -> Sweep:
    """Return the sweep of a file with other settings, as of `sweep`, before a run is made."""
    own = {k: v for k, v in settings.items() if k in file.fields}
    rest = {k: v for k, v in settings.items() if k not in own}
    of_place = {k: rest.pop(k) for k in SweepPlace.model_fields if k in rest}
    suggested = [*file.fields, *SweepPlace.model_fields]
    shared = parse_values(rest, [RunConfig], "A sweep has no", suggested)
    place = SweepPlace(**({"runs": file.runs} if file.runs else {}) | of_place)
    from fewtune.sweeps.make_runs import Sweep

    preparation = Preparation(listener, _write_card if cards else None)
    return Sweep.plan(file, own, shared, place, preparation)


@for_python
def report(
    places: str | Path | Iterable[str | Path],
    out: str | Path = "report",
    *,
    title: str = "FewTune report",
    mixed: bool = False,
    experiment: Path | None = None,
    task_groups: Mapping[str, str] | None = None,
) -> Path:
    """Write a page and tables of all complete runs below folders, or of packed records.

    Args:
        places: Folders that hold run folders at any depth, or files of packed records.
        mixed: Accept several versions of FewTune, or several states of a task's images.
        experiment: Sweep file by which tasks are grouped, and with whose scores ours are compared.
        task_groups: Group of each task; None for the benchmarks' own.

    Returns:
        The page.

    Raises:
        RunError: There are no complete runs, or they cannot stand in one table.
    """
    from fewtune.reports.packed_records import opened
    from fewtune.reports.reproduction import Experiment
    from fewtune.reports.study_report import write_report

    several = [places] if isinstance(places, str | Path) else list(places)
    wanted = Experiment.of(read_toml(experiment), experiment) if experiment else None
    with opened([Path(place) for place in several]) as folders:
        return write_report(
            folders,
            Path(out),
            groups() if task_groups is None else task_groups,
            title,
            mixed=mixed,
            experiment=wanted,
        )
