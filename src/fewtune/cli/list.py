"""List strategies, backbones, datasets, protocols, trackers and runs.

`fewtune list` shows all of these but runs. `fewtune list runs [DIR]` shows the runs in ./runs or
DIR, `fewtune list backbones NAME` one backbone. --verbose adds the flags of each strategy and the
sizes of each backbone.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fewtune.backbones.model_names import (
    CATALOG,
    PHOTO,
    PICTO,
    backbone_names,
    resolve,
)
from fewtune.cli.support.console import Console, day
from fewtune.cli.support.options import Command, Option
from fewtune.core.defaults import DEFAULT_BACKBONE
from fewtune.core.discovery import plugins, strategy_names
from fewtune.core.errors import ConfigError, RunError, did_you_mean
from fewtune.core.naming import show
from fewtune.core.percentages import percent
from fewtune.model.load_strategy import declared_strategy
from fewtune.training.find_runs import RUNS, summaries

TRACKERS = {
    "tensorboard": 'event files in the run\'s folder; pip install "fewtune[tensorboard]"',
    "wandb": 'Weights & Biases, also offline; pip install "fewtune[wandb]"',
    "none": "only metrics.jsonl in the run's folder, which is always written",
}


def backbones() -> dict[str, str]:
    """Return {name: one line} of the backbones."""
    lines = {e.name: f"{e.repo}, {e.parameters / 1e6:.0f}M, {e.licence}" for e in CATALOG}
    lines[DEFAULT_BACKBONE] += "  (default)"
    for name, kind in ((PICTO, "pictogram model"), (PHOTO, "model of photographs")):
        lines[name] = f"embedded {kind}, {resolve(name).licence}"
    return lines


def datasets() -> dict[str, str]:
    """Return {name: one line} of the datasets."""
    from fewtune.datasets.catalog import summaries

    return {**summaries(), "DIR": "your own images: a folder of class folders, a csv or jsonl"}


LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "strategies": strategy_names,
    "backbones": backbones,
    "data": datasets,
    "protocols": lambda: plugins("protocols"),
    "trackers": lambda: dict(TRACKERS),
}

OPTIONS = (
    click.Argument(["what"], required=False, metavar=f"[{'|'.join((*LISTS, 'runs'))}]"),
    click.Argument(["where"], required=False, metavar="[DIR|NAME]"),
    Option(["--verbose", "-v"], is_flag=True, help="Show more of each."),
    Option(
        ["--parameters"],
        is_flag=True,
        help="Stages, modules and parameters of a backbone, by the names that strategies use.",
    ),
    Option(["machine", "--json"], is_flag=True, help="Print one JSON object on stdout."),
)


def run(
    what: str | None, where: str | None, verbose: bool, parameters: bool, machine: bool
) -> None:
    """Print a list."""
    console = Console(machine=machine)
    if what is not None and what not in (*LISTS, "runs"):
        raise ConfigError(f"There is no list {what!r}.", hint=did_you_mean(what, [*LISTS, "runs"]))
    if where is not None and what not in ("runs", "backbones"):
        raise ConfigError(f"{where!r} is one argument too many.", hint="See `fewtune list --help`.")
    if parameters and not (what == "backbones" and where):
        raise ConfigError(
            "--parameters needs a backbone.",
            hint=f"fewtune list backbones {DEFAULT_BACKBONE} --parameters",
        )
    if parameters:
        _parameters(str(where), console)
    elif what == "runs":
        _runs(Path(where) if where else RUNS, console)
    elif what == "backbones" and (verbose or where):
        _backbones((where,) if where else backbone_names(), console)
    elif what == "strategies" and verbose:
        _strategies(console)
    else:
        _names([what] if what else list(LISTS), console)


command = Command("list", params=list(OPTIONS), callback=run, help=__doc__)


def _names(chosen: Sequence[str], console: Console) -> None:
    lists = {what: LISTS[what]() for what in chosen}
    if console.machine:
        console.json(lists)
        return
    page = click.HelpFormatter()
    for what, entries in lists.items():
        with page.section(what):
            page.write_dl(list(entries.items()))
    console.line(page.getvalue().rstrip())


def _backbones(names: Sequence[str], console: Console) -> None:
    from fewtune.backbones.checkpoint import describe

    facts: dict[str, Any] = {}
    for name in names:
        facts[name] = asdict(describe(name))
    if console.machine:
        console.json(facts)
        return
    for name, values in facts.items():
        console.line(name)
        _pairs(values, console)


def _parameters(name: str, console: Console) -> None:
    from fewtune.backbones import clip

    model = clip.load(name)
    towers = {
        which: {
            "stages": [stage.name for stage in tower.stages()],
            "blocks": list(tower.blocks),
            **{key: getattr(tower, key) for key in ("projection", "tokens", "positions")},
        }
        for which, tower in (("image", model.image), ("text", model.text))
    }
    modules = {
        module: {key: list(p.shape) for key, p in part.named_parameters(recurse=False)}
        for module, part in model.net.named_modules()
    }
    modules = {module: shapes for module, shapes in modules.items() if shapes}
    if console.machine:
        console.json({"towers": towers, "modules": modules})
        return
    for which, facts in towers.items():
        console.line(f"{which} tower")
        _pairs(facts, console)
    console.line("modules and their parameters")
    for module, shapes in modules.items():
        listed = ", ".join(f"{key} {tuple(shape)}" for key, shape in shapes.items())
        console.line(f"  {module or '(top)'}: {listed}")


def _pairs(values: dict[str, Any], console: Console) -> None:
    for key, value in values.items():
        if key != "name" and value is not None and value != "":
            text = ", ".join(_inner(value)) if isinstance(value, dict | list | tuple) else value
            console.line(f"  {key.replace('_', ' '):<20}  {show(text)}")


def _inner(value: dict[str, Any] | Sequence[Any]) -> list[str]:
    if isinstance(value, dict):
        return [f"{key.replace('_', ' ')} {show(entry)}" for key, entry in value.items()]
    return [show(entry) for entry in value]


def _strategies(console: Console) -> None:
    from fewtune.core.fields import flag_name

    lines = strategy_names()
    kinds = {name: declared_strategy(name) for name in lines}
    if console.machine:
        console.json(
            {
                name: {
                    "title": kind.title,
                    "paper": kind.citation_key(),
                    "uses": kind.uses,
                    "types": kind.types,
                    "fields": {
                        flag_name(field, info): {"default": info.default, "help": info.description}
                        for field, info in kind.model_fields.items()
                    },
                    "recipe": kind.recipe.model_dump() if kind.recipe else None,
                    "source": kind.source,
                }
                for name, kind in kinds.items()
            }
        )
        return
    for name, kind in kinds.items():
        console.line(f"{name}: {lines[name]}")
        console.line(f"  {'labels and text used':<34} {kind.uses}")
        for field, info in kind.model_fields.items():
            flag = f"{flag_name(field, info)} [{show(info.default)}]"
            console.line(f"  {flag:<34} {info.description}")


def _score(run: dict[str, Any]) -> str:
    if not run["complete"]:
        return "unfinished"
    if run["top1"] is None:
        return "final model" if run["final"] else "not tested"
    return percent(run["top1"], 2)


def _runs(folder: Path, console: Console) -> None:
    if not folder.is_dir():
        raise RunError(
            f"There is no folder {str(folder)!r} here.",
            hint="`fewtune fit` makes ./runs; for others: fewtune list runs DIR",
        )
    found = list(summaries(folder))
    if console.machine:
        console.json(found)
        return
    rows = []
    for run in found:
        name = Path(run["folder"]).name
        if "error" in run:
            console.warn(f"{name}: {run['error']}")
            continue
        scale, images = run["steps_scale"], run["images"]
        row = [name, Path(run["backbone"]).name, str(run["shots"] or "all"), str(run["seed"])]
        row += ["" if scale == 1.0 else f"x{scale:.3g}", f"{images['train']:,}+{images['test']:,}"]
        rows.append([*row, _score(run), day(run["created"])])
    if rows:
        header = ["run", "backbone", "shots", "seed", "steps", "train+test", "top-1", "date"]
        used = [column for column in range(len(header)) if any(row[column] for row in rows)]
        shown = [[row[column] for column in used] for row in (header, *rows)]
        console.table(shown[0], shown[1:], left=(0, 1))
    else:
        console.line(f"No runs in {folder}.")
