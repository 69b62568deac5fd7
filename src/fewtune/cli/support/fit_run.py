"""What `fewtune fit` does once its flags are read: check the images, run, print the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fewtune.backbones.model_names import resolve as resolve_backbone
from fewtune.cli.support.console import Console
from fewtune.cli.support.data_checks import (
    check,
    open_data,
    show_summary,
    usable,
    warn_of_photographs,
)
from fewtune.cli.support.result_tables import show_results
from fewtune.core.draws import DEFAULT_DRAW
from fewtune.core.errors import ConfigError
from fewtune.core.task import part_of

if TYPE_CHECKING:
    from fewtune.core.spec import Recipe
    from fewtune.core.task import Task
    from fewtune.model.strategy import Strategy
    from fewtune.training.job import Job
    from fewtune.training.run import Result


# The flags that decide which images and prompts are read.
DATA_FLAGS = (
    "data", "root", "layout", "subset", "templates", "prompts", "descriptions", "name",
)  # fmt: skip


def execute(kind: type[Strategy], values: Mapping[str, Any], options: Mapping[str, Any]) -> Result:
    """Check the data, run, and print the table; arguments as for `prepare`."""
    from fewtune.cli.support.progress import make_terminal
    from fewtune.training.run import run
    from fewtune.training.tracking import Trackers, make_tracker

    console = Console(machine=values["machine"], quiet=values["quiet"])
    tracker = make_tracker(values["tracker"])
    job = prepare(kind, values, options, console, {})
    with make_terminal(console) as terminal:
        result = run(job, Trackers([terminal, tracker]))
    show(result, console)
    return result


def prepare(
    kind: type[Strategy],
    values: Mapping[str, Any],
    options: Mapping[str, Any],
    console: Console,
    opened: dict[str, Task],
) -> Job:
    """Return the job that the flags ask for, its images opened and checked.

    Args:
        values: All flags by parameter name.
        options: The fields of the strategy and of its recipe that were given.
        opened: Tasks that other jobs opened with the same flags; gets this one.

    Raises:
        ConfigError: A flag is wrong, or the data does not fit what it asks for.
        DataError: The images cannot be used.
    """
    from fewtune.training.named_recipes import configure, named_recipe

    if not values["data"]:
        raise ConfigError(
            "No images were given.",
            hint="Add --data DIR, a folder with a folder of images for each class.",
        )
    if values["draw"] != DEFAULT_DRAW and values["shots"] is None:
        raise ConfigError(
            f"--draw {values['draw']} says how shots are drawn, but there are no --shots.",
            hint="Add --shots 16.",
        )
    configure(kind.name(), options)
    resolve_backbone(values["backbone"])
    task = open_part(values, console, opened)
    if kind.recipe is not None and not task.train:
        raise ConfigError(
            f"{task.name} has no training images.",
            hint=f"Train on others, then: fewtune evaluate RUN --data {task.name}",
        )
    paper = values["recipe_name"].lower() == "paper"
    named = {} if paper else named_recipe(values["recipe_name"], kind.name(), task.name)
    shots = values["shots"] or task.support().shots
    strategy, recipe = configure(kind.name(), {**named, **options}, shots)
    return _job(values, strategy, recipe, task)


def open_part(values: Mapping[str, Any], console: Console, opened: dict[str, Task]) -> Task:
    """Return the images that the flags ask for, opened and checked once.

    Args:
        opened: As for `prepare`.

    Raises:
        ConfigError: A flag is wrong.
        DataError: The images cannot be used.
    """
    whole = [values[name] for name in DATA_FLAGS] + [values["shots"] is None]
    part = values["classes"], values["score_on"]
    if repr(whole) not in opened:
        task = _task(values)
        # With shots or without makes a difference for VTAB's tasks alone.
        found = repr((task.name, task.fingerprint(), task.notes))
        if found not in opened:
            opened[found] = _checked(task, values, console)
        opened[repr(whole)] = opened[found]
    if repr((whole, part)) not in opened:
        opened[repr((whole, part))] = part_of(opened[repr(whole)], *part)
    return opened[repr((whole, part))]


def _checked(task: Task, values: Mapping[str, Any], console: Console) -> Task:
    if task.benchmark:
        show_summary(task, console)
    else:
        task = usable(task, check(task, values["shots"], console), console)
    warn_of_photographs(task, values["backbone"], console)
    return task


def _task(values: Mapping[str, Any]) -> Task:
    task = open_data(
        values["data"],
        templates=values["templates"],
        descriptions=values["descriptions"],
        root=values["root"],
        wording=values["prompts"],
        subset=values["subset"],
        layout=values["layout"],
        few_shot=values["shots"] is not None,
    )
    name = values["name"]
    if name and not all(c.isalnum() or c in "-_." for c in name.strip(".") or "/"):
        raise ConfigError(
            f"--name {name!r} cannot be part of a folder's name.",
            hint="Use letters, digits, '-', '_' and '.'.",
        )
    return replace(task, name=name) if name else task


def _job(values: Mapping[str, Any], strategy: Strategy, recipe: Recipe | None, task: Task) -> Job:
    from fewtune.core.preprocess import preprocessing
    from fewtune.reports.model_card import write_card
    from fewtune.training.job import Job

    return Job(
        strategy,
        task,
        values["backbone"],
        recipe,
        shots=values["shots"],
        seed=values["seed"],
        draw=values["draw"],
        steps_scale=values["steps_scale"],
        time_budget_s=values["time_budget_s"],
        templates=values["template_use"],
        **preprocessing(values["preprocess"], values["resize"]),
        precision=None if values["precision"] == "auto" else values["precision"],
        device=values["device"],
        threads=values["threads"],
        memory_mib=values["memory_mib"],
        cache=not values["no_cache"],
        cache_dir=values["cache_dir"],
        runs=values["runs"],
        write_card=write_card,
    )


def show(result: Result, console: Console) -> None:
    """Print the results: a table, the files to open and the command to type next."""
    if console.machine:
        console.json(
            {
                "folder": str(result.folder),
                "fresh": result.fresh,
                "record": result.record,
                "zero_shot": result.zero_shot,
            }
        )
        return
    if not result.fresh:
        console.line("This run is complete already; these are its results.")
    show_results(console, result.record, result.zero_shot)
    console.line()
    console.line(f"run      {result.folder}")
    for name, text in (("README.md", "card"), ("summary.png", "picture")):
        if (result.folder / name).exists():
            console.line(f"{text:<8} {result.folder / name}")
    console.line(f"next     fewtune predict {result.folder} image.jpg")
