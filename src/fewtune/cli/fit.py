"""Tune a strategy on your images and compare it with zero-shot.

DATA is a folder of class folders (DIR/cat/1.jpg), of splits (DIR/train/cat/1.jpg), a csv or jsonl
with the columns path and label, or the name of a dataset. Without a strategy, clip-lora is used.
Repeat a command to continue an interrupted run, or to see the results of a finished one.

Flags override the file of --config, which overrides the paper's recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewtune.cli.support.console import Console
from fewtune.cli.support.options import Command, Option, Several, field_options, given
from fewtune.core.defaults import DEFAULT_STRATEGY
from fewtune.core.discovery import strategy_names
from fewtune.core.errors import ConfigError
from fewtune.core.fields import parse_values
from fewtune.core.run_config import EXECUTION, RunConfig
from fewtune.core.toml import named_in, read_toml
from fewtune.model.load_strategy import declared_strategy, strategies_with

if TYPE_CHECKING:
    from pydantic import BaseModel

    from fewtune.model.strategy import Strategy

CONFIGURED = tuple(field_options(RunConfig, leave_out=("strategy", "options")))
OPTIONS: tuple[Option, ...] = (
    *CONFIGURED,
    Option(["--seeds"], type=Several(int, distinct=True, ge=0, le=2**31 - 1), metavar="N,N,...",
           shown="none", help="Make a run for each seed; shows their mean and deviation."),
    Option(["--final"], is_flag=True,
           help="Then train on all images, test images too; keeps the number measured before."),
    Option(["--config"], type=click.Path(path_type=Path), metavar="FILE.toml",
           help="File with values for these flags; what is typed overrides it."),
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
        strategy = declared_strategy(str(name or configured or DEFAULT_STRATEGY))
        command = strategy_command(strategy, assumed=not (name or configured))
        if path:
            extra["default_map"] = file_defaults(values, path, strategy)
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


class FitOne(Command):
    """`fit` with the flags of one strategy."""

    elsewhere = staticmethod(strategies_with)


def strategy_command(strategy: type[Strategy], *, assumed: bool = False) -> Command:
    """Return the command that fits one strategy; ConfigError if flags collide."""
    name = strategy.name()
    params = [*strategy_options(strategy), *OPTIONS]
    flags = [flag for option in params for flag in option.opts]
    repeated = {flag for flag in flags if flags.count(flag) > 1}
    if repeated:
        raise ConfigError(
            f"A field of strategy {name} collides with the flag {min(repeated)}.",
            hint="Rename the field.",
        )

    def fit(**values: Any) -> None:
        from fewtune.api import fit_seeds
        from fewtune.cli.support.data_checks import ShownOnConsole
        from fewtune.cli.support.fit_run import show, show_seeds
        from fewtune.cli.support.progress import make_terminal

        console = Console(machine=values["machine"], quiet=values["quiet"])
        if assumed:
            console.note(f"No strategy given: using {name}.")
        own = [option.name for option in params if option.name in values]
        asked = given(click.get_current_context(), [n for n in own if n and n not in NOT_OF_A_RUN])
        of_command: dict[str, Any] = {"seeds": values["seeds"] or (), "final": values["final"]}
        if of_command["seeds"]:
            refuse_seeds(strategy, asked)
        data, listener = asked.pop("data", ""), ShownOnConsole(console)
        with closing(make_terminal(console)) as follow:
            results = fit_seeds(data, name, listener=listener, follow=follow, **of_command, **asked)
        if of_command["seeds"]:
            show_seeds(results, console)
        else:
            show(results[0], console)

    doc = (strategy.__doc__ or "").strip()
    return FitOne(
        "fit",
        params=list(params),
        callback=fit,
        help=f"{strategy.title}. {doc}",
        options_metavar=f"{name} --data DATA [OPTIONS]",
    )


NOT_OF_A_RUN = ("seeds", "final", "config", "machine", "quiet")


def refuse_seeds(strategy: type[Strategy], asked: Mapping[str, Any]) -> None:
    """Refuse several seeds where one is set, or where the strategy trains nothing."""
    if asked.get("seed"):
        raise ConfigError("--seed and --seeds exclude each other.", hint="Use --seeds alone.")
    if strategy.recipe is None:
        raise ConfigError(
            f"{strategy.name()} trains nothing: every seed would give the same.",
            hint="Leave out --seeds.",
        )


def file_defaults(
    values: Mapping[str, Any], path: Path, strategy: type[Strategy]
) -> dict[str, Any]:
    """Return the values of a file by parameter name; ConfigError if one is wrong."""
    recipe: list[type[BaseModel]] = [type(strategy.recipe)] if strategy.recipe else []
    models: list[type[BaseModel]] = [strategy, *recipe, RunConfig]
    of_command = {"json": "machine", "quiet": "quiet", "final": "final"}
    shown = {name: values[key] for key, name in of_command.items() if key in values}
    rest = {key: value for key, value in values.items() if key not in of_command}
    unknown = f"{path} has the unknown key"
    with named_in(str(path), unknown):
        return shown | parse_values(rest, models, unknown)


def strategy_options(strategy: type[Strategy]) -> list[Option]:
    """Return the flags of a strategy and of its recipe, with this strategy's defaults."""
    own = list(field_options(strategy, f"{strategy.title} ({strategy.name()})"))
    if strategy.recipe is None:
        return own
    section = f"Recipe (defaults of {strategy.name()}, source: {strategy.source})"
    defaults = strategy.recipe.model_dump()
    return [*own, *field_options(type(strategy.recipe), section, defaults)]
