"""Tune a strategy on your images and compare it with zero-shot.

DATA is a folder of class folders (DIR/cat/1.jpg), of splits (DIR/train/cat/1.jpg), a csv or jsonl
with the columns path and label, or the name of a dataset. Without a strategy, clip-lora is used.
The same command again continues an interrupted run, and prints the results of a complete one.

What is set where: the paper's recipe, then --config, then flags; the last one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewtune.backbones.model_names import DEFAULT_BACKBONE
from fewtune.cli.support.console import Console
from fewtune.cli.support.options import (
    Command,
    Duration,
    Memory,
    Number,
    Numbers,
    OneOf,
    Option,
    field_options,
    given,
)
from fewtune.cli.support.run_store import Folder
from fewtune.cli.support.toml_files import as_defaults, read_toml
from fewtune.core.discovery import strategy_names
from fewtune.core.draws import DEFAULT_DRAW, DRAWS
from fewtune.core.errors import ConfigError
from fewtune.core.preprocess import POLICIES
from fewtune.datasets.declaration import SOURCES, SUBSETS
from fewtune.model.load_strategy import load_strategy

if TYPE_CHECKING:
    from fewtune.model.strategy import Strategy

DEFAULT_STRATEGY = "clip-lora"
EXECUTION = "Execution"
TRACKERS = ("none", "tensorboard", "wandb")

OPTIONS: tuple[Option, ...] = (
    Option(["--data"], metavar="DIR|NAME", help="Images: a path, or the name of a dataset."),
    Option(["--root"], type=click.Path(path_type=Path), metavar="DIR", shown="the download folder",
           help="Folder that holds datasets by name."),
    Option(["--layout"], metavar="NAME", shown="the most trustworthy that is there",
           help="Form in which a dataset is read."),
    Option(["--subset"], type=OneOf(SUBSETS), shown="1000; full with --shots",
           help="Training images of a VTAB task: 1,000, or 800 and 200 for validation, or all."),
    Option(["--classes"], type=OneOf(("all", "base", "new")), default="all", shown="all",
           help="Classes to learn: all, or the first or second half, as in base-to-new."),
    Option(["--score-on"], type=OneOf(("test", "val")), default="test", shown="test",
           help="Images that are scored; with val, no test image enters the run."),
    Option(["--backbone"], default=DEFAULT_BACKBONE, shown=DEFAULT_BACKBONE, metavar="NAME",
           help="Name, Hugging Face id or folder: `fewtune list backbones`."),
    Option(["--shots"], type=Number(True, ge=1), shown="all",
           help="Training images drawn from each class."),
    Option(["--seed"], type=Number(True, ge=0, le=2**31 - 1), default=0, shown="0",
           help="Seed of the draw and of training."),
    Option(["--seeds"], type=Numbers(Number(True, ge=0, le=2**31 - 1)), metavar="N,N,...",
           shown="none", help="A run for each of several seeds, with their mean and deviation."),
    Option(["--draw"], type=OneOf(DRAWS), default=DEFAULT_DRAW, shown=DEFAULT_DRAW,
           help="How shots are drawn: our way, that of a paper, or its published lists."),
    Option(["--steps-scale"], type=Number(False, gt=0, le=1000), default=1.0, shown="1",
           help="Factor on training steps and schedule."),
    Option(["time_budget_s", "--time-budget"], type=Duration(), shown="none",
           help="Shorten training to this time, such as 10m."),
    Option(["templates", "--template"], multiple=True, metavar="TEXT",
           help="Prompt with {} for the class name; may be repeated.  [those of --prompts, else a "
           "photo of a {}.]"),
    Option(["--prompts"], type=OneOf(SOURCES), shown="that of the dataset",
           help="Whose class names and templates a dataset is read with."),
    Option(["template_use", "--templates"], type=OneOf(("first", "all")), default="all",
           shown="all", help="Use the first template, or average over all."),
    Option(["--descriptions"], type=click.Path(path_type=Path), metavar="FILE",
           help='Prompts by class: JSON {"cat": ["..."]} or csv with columns class and text.'),
    Option(["--preprocess"], type=OneOf(tuple(POLICIES)), default="checkpoint", shown="checkpoint",
           help="Whose resizing, interpolation, mean and deviation."),
    Option(["--resize"], type=OneOf(("crop", "squash")), shown="as --preprocess says",
           help="How images become square."),
    Option(["recipe_name", "--recipe"], default="paper", shown="paper", metavar="[paper|seed]",
           help="Recipe to start from."),
    Option(["--config"], type=click.Path(path_type=Path), metavar="FILE.toml",
           help="Values for any of these flags."),
    Option(["--name"], metavar="NAME", shown="that of the folder",
           help="Name of the task in tables."),
    Option(["--device"], default="auto", shown="auto", section=EXECUTION, help="auto, cpu, cuda."),
    Option(["--precision"], type=OneOf(("auto", "fp32", "bf16")), default="auto", shown="auto",
           section=EXECUTION, help="auto: bf16 where the hardware has it."),
    Option(["--threads"], type=Number(True, ge=1), shown="as torch chooses", section=EXECUTION,
           help="CPU threads."),
    Option(["memory_mib", "--memory"], type=Memory(), shown="what is free", section=EXECUTION,
           help="Most that the process may take, such as 2GiB."),
    Option(["cache_dir", "--cache"], type=click.Path(path_type=Path), section=EXECUTION,
           metavar="DIR", shown="one folder for all runs",
           help="Encoded images that runs share: `fewtune cache list`."),
    Option(["no_cache", "--no-cache"], is_flag=True, section=EXECUTION,
           help="Encode all images in every step anew."),
    Option(["--runs"], type=Folder(path_type=Path), default=Path("runs"), shown="runs",
           section=EXECUTION, metavar="DIR", help="Folder of run folders."),
    Option(["--tracker"], type=OneOf(TRACKERS), default="none", shown="none", section=EXECUTION,
           help="Log to it as well."),
    Option(["machine", "--json"], is_flag=True, section=EXECUTION,
           help="Print one JSON object on stdout; words go to stderr."),
    Option(["--quiet"], is_flag=True, section=EXECUTION, help="Leave out progress."),
)  # fmt: skip


class Fit(Command):
    """`fit`: becomes the command of one strategy, with that strategy's flags."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse with the flags of the strategy that is named in the arguments or the config."""
        name, rest = split_strategy(args)
        if name is None and any(flag in rest for flag in ("-h", "--help")):
            return super().make_context(info_name, rest, parent, **extra)
        path = config_path(rest)
        values = read_toml(path) if path else {}
        configured = values.pop("strategy", None)
        strategy = load_strategy(str(name or configured or DEFAULT_STRATEGY))
        command = strategy_command(strategy, assumed=not (name or configured))
        if path:
            extra["default_map"] = as_defaults(values, path, command.params)
        return command.make_context(info_name, rest, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the strategies."""
        with formatter.section("Strategies (each with flags of its own: fewtune fit NAME --help)"):
            formatter.write_dl(list(strategy_names().items()))


command = Fit(
    "fit", params=list(OPTIONS), help=__doc__, options_metavar="[STRATEGY] --data DATA [OPTIONS]"
)


def split_strategy(args: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the strategy among the arguments, and the others.

    It is the first word that is a strategy's name and no option's value; else, so that a typing
    error is met with the closest name, the first that cannot be the value of a strategy's flag.
    """
    takes_value = {flag: not option.is_flag for option in OPTIONS for flag in option.opts}
    words: list[tuple[int, bool]] = []
    index, after_unknown = 0, False
    while index < len(args):
        word = args[index]
        if word.startswith("-"):
            after_unknown = "=" not in word and word not in takes_value
            index += 1 + ("=" not in word and takes_value.get(word, False))
        else:
            words.append((index, after_unknown))
            index, after_unknown = index + 1, False
    names = strategy_names()
    known = [i for i, _ in words if args[i].lower().replace("_", "-") in names]
    chosen = [*known, *(i for i, value in words if not value)][:1]
    if not chosen:
        return None, list(args)
    return args[chosen[0]], [word for i, word in enumerate(args) if i != chosen[0]]


def config_path(args: Sequence[str]) -> Path | None:
    """Return the value of --config among the arguments."""
    for index, word in enumerate(args):
        if word.startswith("--config="):
            return Path(word.partition("=")[2])
        if word == "--config" and index + 1 < len(args):
            return Path(args[index + 1])
    return None


def strategy_command(strategy: type[Strategy], *, assumed: bool = False) -> Command:
    """Return the command that fits one strategy.

    Raises:
        ConfigError: A field of the strategy has the name of another flag.
    """
    name = strategy.name()
    params = [*strategy_options(strategy), *recipe_options(strategy), *OPTIONS]
    flags = [flag for option in params for flag in option.opts]
    repeated = {flag for flag in flags if flags.count(flag) > 1}
    if repeated:
        raise ConfigError(
            f"A field of strategy {name} collides with the flag {min(repeated)}.",
            hint="Rename the field.",
        )

    def fit(**values: Any) -> None:
        from fewtune.cli.support import fit_run, seed_runs

        execute = seed_runs.execute if values["seeds"] else fit_run.execute
        if assumed and not values["quiet"]:
            Console(machine=values["machine"]).line(f"No strategy given: {name} it is.")
        execute(strategy, values, options_given(click.get_current_context(), strategy))

    doc = (strategy.__doc__ or "").strip()
    title = f"{strategy.title}. {doc}"
    return Command(
        "fit",
        params=list(params),
        callback=fit,
        help=title,
        options_metavar=f"{name} --data DATA [OPTIONS]",
    )


def options_given(context: click.Context, strategy: type[Strategy]) -> dict[str, Any]:
    """Return the fields of a strategy and of its recipe that stand in flags or files."""
    of_recipe = type(strategy.recipe).model_fields if strategy.recipe else ()
    return given(context, [*strategy.model_fields, *of_recipe])


def strategy_options(strategy: type[Strategy]) -> list[Option]:
    """Return the flags of a strategy's own fields."""
    section = f"{strategy.title} ({strategy.name()})"
    return list(field_options(strategy, section, {}))


def recipe_options(strategy: type[Strategy]) -> list[Option]:
    """Return the flags of the recipe, with this strategy's defaults; none if nothing is trained."""
    if strategy.recipe is None:
        return []
    section = f"Recipe (defaults of {strategy.name()}, source: {strategy.source})"
    return list(field_options(type(strategy.recipe), section, strategy.recipe.model_dump()))
