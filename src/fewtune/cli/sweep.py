"""Make many runs, each once: a benchmark protocol, or every combination of the lists in a file.

PROTOCOL is a benchmark (`fewtune list protocols`); `fewtune sweep PROTOCOL --help` shows what can
be chosen. At the end its tables are written, with holes where a score is missing.

FILE.toml has the keys of `fewtune fit`; a list is an axis. Options of one strategy stand in a table
of its name:

\b
    strategy = ["linear-probe", "clip-adapter", "clip-lora"]
    data = ["vtab/dtd", "my-images"]
    shots = [1, 4, 16]
    seed = [1, 2, 3]
    backbone = "picto"
    [clip-lora]
    rank = [2, 4]

With a table [search] values are searched on validation images, and final runs are made with the
best:

\b
    [search]
    method = "grid"
    [search.clip-lora]
    lr = [1e-4, 2e-4]

A file with the key protocol has the fields of that protocol:

\b
    protocol = "few-shot"
    strategies = ["clip-adapter", "clip-lora"]
    data = ["fewshot/dtd", "fewshot/pets"]
    [options.clip-lora]
    rank = 4

Flags count more than a file, and take lists with commas: --shots 1,4,16. What is complete is not
made again, so the same command continues a sweep that was stopped. A run that fails is reported,
does not stop the others, and is tried again the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewtune.cli.fit import OPTIONS
from fewtune.cli.support.options import Command, Kind, Option, field_options, flag_name, given
from fewtune.cli.support.run_store import OPTIONS as WHERE
from fewtune.cli.support.run_store import check, place_of
from fewtune.cli.support.search_options import SEARCH, searched
from fewtune.cli.support.toml_files import as_defaults, read_toml
from fewtune.core.discovery import plugins, strategy_names
from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.naming import dashed

if TYPE_CHECKING:
    from fewtune.core.protocol import Protocol
    from fewtune.sweeps.runner import CaseSource

PROTOCOL = "protocol"
# What a file may say of itself; it decides nothing.
METADATA = ("title", "paper", "expected", "tolerance", "groups")
# Flags of `fewtune fit` that are not the same for all runs of a sweep, or mean something else here.
OF_ONE_RUN = set(
    "data shots seed seeds backbone config name machine quiet tracker runs".split()
)  # fmt: skip
OF_PROTOCOLS = {"draw", "prompts", "subset", "classes", "score_on"}
SHOWN = 40

ARGUMENT = click.Argument(["what"], metavar="FILE.toml|PROTOCOL")
EXECUTION: tuple[Option, ...] = (
    Option(["--dry-run"], is_flag=True, help="List the runs and make none."),
    Option(["--batched"], is_flag=True,
           help="Train runs that differ in seed and rate alone at once, where a strategy allows."),
    Option(["--retention"], is_flag=True,
           help="Measure each run on the other tasks too: what tuning on one costs on these."),
    Option(["--cards"], is_flag=True, help="Write a card and a picture for each run too."),
    Option(["--quiet"], is_flag=True, help="Leave out progress."),
    *WHERE,
)  # fmt: skip


class Several(Kind):
    """Values with commas between them."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Return the values.

        Raises:
            ConfigError: There is none.
        """
        found = [part.strip() for part in str(value).split(",") if part.strip()]
        if not found:
            raise self.refuse(value, param)
        return found

    def wanted(self) -> str:
        """Return the accepted form."""
        return "one value or several with commas"


class Sweep(Command):
    """`sweep`: becomes the command of one protocol or file, with its flags."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse with the flags of what is named in the arguments."""
        what = first_word(args)
        if what is None:
            return super().make_context(info_name, args, parent, **extra)
        command, extra["default_map"] = command_for(what)
        return command.make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the protocols."""
        with formatter.section("Protocols (each with flags of its own: fewtune sweep NAME --help)"):
            formatter.write_dl(list(plugins("protocols").items()))


def first_word(args: Sequence[str]) -> str | None:
    """Return the first argument that is no flag and no flag's value."""
    switches = {flag for option in (*OPTIONS, *EXECUTION) if option.is_flag for flag in option.opts}
    skip = False
    for word in args:
        if skip or word.startswith("-"):
            skip = not skip and "=" not in word and word not in {*switches, "-h", "--help"}
            continue
        return word
    return None


def command_for(what: str) -> tuple[Command, dict[str, Any]]:
    """Return the command of a protocol or a file, and the flags that the file sets.

    Raises:
        ConfigError: There is neither, or the file cannot be read or has an unknown key.
    """
    path = Path(what)
    names = plugins("protocols")
    if what.lower().replace("_", "-") in names:
        return _of_protocol(what, path, {})
    if path.suffix != ".toml" and not path.exists():
        raise ConfigError(
            f"There is no protocol and no file {what!r}.",
            hint=f"{did_you_mean(what, names)} See `fewtune list protocols`.",
        )
    values = {key: value for key, value in read_toml(path).items() if key not in METADATA}
    if PROTOCOL in values:
        return _of_protocol(str(values.pop(PROTOCOL)), path, values)
    runs = values.pop("runs") if isinstance(values.get("runs"), str) else None
    return _of_grid(path, values), {"runs": runs} if runs else {}


def _of_protocol(
    name: str, path: Path, values: Mapping[str, Any]
) -> tuple[Command, dict[str, Any]]:
    from fewtune.core.protocol import load_protocol

    kind = load_protocol(name)
    fields = list(_field_flags(kind))
    runs = _run_options({*OF_ONE_RUN, *OF_PROTOCOLS, *kind.model_fields})
    known = {dashed(key): key for key in kind.model_fields}
    flags = {option.opts[0].removeprefix("--") for option in (*runs, *EXECUTION)}
    for key in values:
        if key not in (*known, *flags):
            raise ConfigError(
                f"{path} has the unknown key {key!r}.",
                hint=f"{did_you_mean(key, (*known, *flags))} Keys are the fields of {kind.name()} "
                "and flags of `fewtune sweep`.",
            )
    filed = {known[key]: value for key, value in values.items() if key in known}
    rest = {key: value for key, value in values.items() if key not in known}

    def source(context: click.Context) -> Protocol:
        chosen = given(context, [option.name for option in fields if option.name])
        flat = {key: _flat(value) if isinstance(value, tuple) else value
                for key, value in chosen.items()}  # fmt: skip
        return kind.of(_as_lists(kind, {**filed, **flat}), str(path))

    params = [*fields, *EXECUTION, *runs]
    doc = f"{kind.title}: {(kind.__doc__ or '').strip()}"
    return _command(kind.name(), path, doc, params, runs, source), as_defaults(rest, path, params)


def _of_grid(path: Path, values: Mapping[str, Any]) -> Command:
    axes = {"strategies": "strategy", "data": "data", "shots": "shots", "seeds": "seed",
            "backbone": "backbone"}  # fmt: skip
    fields = [
        Option([name, f"--{name}"], type=Several(), multiple=True, section="Axes",
               shown="as the file says", help=f"The file's {key}, one or several.")
        for name, key in axes.items()
    ]  # fmt: skip
    runs = _run_options(OF_ONE_RUN)

    def source(context: click.Context) -> CaseSource:
        from fewtune.sweeps.grid import Grid, expand, overridden, strategies_of

        lists = [option.opts[0].removeprefix("--") for option in OPTIONS if option.multiple]
        chosen = {
            axes[k]: list(map(_number, _flat(v))) for k, v in given(context, list(axes)).items()
        }
        table = values.get(SEARCH)
        rest = {key: value for key, value in values.items() if key != SEARCH}
        grid = Grid(tuple(expand(overridden(rest, chosen), strategy_names(), lists)))
        return grid if table is None else searched(grid, table, path, strategies_of(rest), lists)

    params = [*fields, *EXECUTION, *runs]
    return _command(str(path), path, "Make the runs of a file.", params, runs, source)


def _command(
    name: str,
    path: Path,
    doc: str,
    params: Sequence[Option],
    runs: Sequence[Option],
    source: Callable[[click.Context], CaseSource],
) -> Command:
    def callback(**values: Any) -> int:
        from fewtune.cli.support.console import Console
        from fewtune.cli.support.sweep_jobs import Jobs
        from fewtune.cli.support.sweep_run import make

        context = click.get_current_context()
        check(values)
        place = place_of(values["runs"])
        shared = given(context, [option.name for option in runs if option.name])
        if given(context, ["runs"]):
            shared["runs"] = place.runs
        console = Console(quiet=values["quiet"])
        jobs = Jobs(path, shared, console, cards=values["cards"])
        return make(source(context), jobs, place, values, console)

    named = click.Argument(["what"], metavar="")
    return Command(
        "sweep", params=[named, *params], callback=callback, help=doc,
        options_metavar=f"{name} [OPTIONS]",
    )  # fmt: skip


def _field_flags(kind: type[Protocol]) -> Iterator[Option]:
    """Yield a flag for each field of a protocol that a command line can hold."""
    section = f"{kind.title} ({kind.name()})"
    lists = {n: f for n, f in kind.model_fields.items() if "tuple" in str(f.annotation)}
    tables = [n for n, f in kind.model_fields.items() if "dict" in str(f.annotation)]
    for name, field in lists.items():
        if name not in tables:
            default = field.default
            shown = ",".join(map(str, default)) if isinstance(default, tuple) else "all"
            shown = shown if len(shown) <= SHOWN else f"the {len(default)} of the paper"
            yield Option(
                [name, flag_name(name)],
                type=Several(),
                multiple=True,
                section=section,
                shown="" if field.is_required() else shown,
                help=_sentence(f"{field.description or name}, with commas"),
            )
    yield from field_options(kind, section, {}, leave_out=[*lists, *tables])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _run_options(taken: set[str]) -> list[Option]:
    """Return the flags of `fewtune fit` that all runs of a sweep can share."""
    found = []
    for option in OPTIONS:
        if option.name not in taken:
            shared = copy(option)
            shared.section = "Of every run"
            found.append(shared)
    return found


def _flat(lists: Sequence[Sequence[str]]) -> list[str]:
    return [value for values in lists for value in values]


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _as_lists(kind: type[Protocol], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with a single value in a list where the protocol takes several."""
    several = {n for n, f in kind.model_fields.items() if str(f.annotation).startswith("tuple")}
    return {
        name: [value] if name in several and not isinstance(value, list | tuple) else value
        for name, value in values.items()
    }


command = Sweep("sweep", params=[ARGUMENT, *EXECUTION], help=__doc__)
