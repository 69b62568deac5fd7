"""What `fewtune fit` does once its flags are read: check the images, run, print the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fewtune.backbones.catalog import resolve as resolve_backbone
from fewtune.cli.console import Console
from fewtune.cli.images import check, open_data, show_summary, usable, warn_of_photographs
from fewtune.cli.tables import show_results
from fewtune.core.errors import ConfigError

if TYPE_CHECKING:
    from fewtune.core.spec import Recipe
    from fewtune.core.strategy import Strategy
    from fewtune.core.task import Task
    from fewtune.engine.job import Job
    from fewtune.engine.run import Result


def execute(kind: type[Strategy], values: Mapping[str, Any], options: Mapping[str, Any]) -> Result:
    """Check the data, run, and print the table.

    Args:
        values: All flags by parameter name.
        options: The fields of the strategy and of its recipe that were given.
    """
    from fewtune.cli.progress import make_terminal
    from fewtune.engine.recipes import configure, named_recipe
    from fewtune.engine.run import run
    from fewtune.engine.tracking import Trackers, make_tracker

    console = Console(machine=values["machine"], quiet=values["quiet"])
    if not values["data"]:
        raise ConfigError(
            "No images were given.",
            hint="Add --data DIR, a folder with a folder of images for each class.",
        )
    configure(kind.name(), options)
    resolve_backbone(values["backbone"])
    tracker = make_tracker(values["tracker"])
    task = _task(values)
    paper = values["recipe_name"].lower() == "paper"
    named = {} if paper else named_recipe(values["recipe_name"], kind.name(), task.name)
    if kind.recipe is not None and not task.train:
        raise ConfigError(
            f"{task.name} has no training images.",
            hint=f"Train on others, then: fewtune evaluate RUN --data {task.name}",
        )
    if task.benchmark:
        show_summary(task, console)
    else:
        task = usable(task, check(task, values["shots"], console), console)
    warn_of_photographs(task, values["backbone"], console)
    shots = values["shots"] or task.support().shots
    strategy, recipe = configure(kind.name(), {**named, **options}, shots)
    with make_terminal(console) as terminal:
        result = run(_job(values, strategy, recipe, task), Trackers([terminal, tracker]))
    show(result, console)
    return result


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
    from fewtune.engine.job import Job

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
        runs=values["runs"],
        memory_mib=values["memory_mib"],
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
