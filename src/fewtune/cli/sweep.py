"""Make many runs: a benchmark protocol, or every combination of the lists in a file.

PROTOCOL is a benchmark (`fewtune list protocols`); `fewtune sweep PROTOCOL --help` shows its flags.
Its tables are written at the end; cells without a score stay empty.

FILE.toml has the flags of `fewtune fit` as keys. A list makes a run for each of its values. Options
of one strategy go into a table of its name:

\b
    strategy = ["linear-probe", "clip-adapter", "clip-lora"]
    data = ["vtab/dtd", "my-images"]
    shots = [1, 4, 16]
    seed = [1, 2, 3]
    backbone = "picto"
    [clip-lora]
    rank = [2, 4]

A table [search] searches values on validation images, then makes the final runs with the best:

\b
    [search]
    method = "grid"
    [search.clip-lora]
    lr = [1e-4, 2e-4]

A file can set up a protocol too:

\b
    protocol = "few-shot"
    strategies = ["clip-adapter", "clip-lora"]
    data = ["fewshot/dtd", "fewshot/pets"]
    [options.clip-lora]
    rank = 4

Flags override the file; lists have commas: --shots 1,4,16. Finished runs are never made again, so
repeat the command to continue a sweep that was stopped. A run that fails does not stop the others,
and is tried again the next time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import click

from fewtune.cli.support.options import Command, Option, Several, field_options, given
from fewtune.core.discovery import plugins
from fewtune.core.fields import Parser, flag_name
from fewtune.core.run_config import RunConfig
from fewtune.sweeps.place import SweepPlace
from fewtune.sweeps.sources import AXES, SweepFile

if TYPE_CHECKING:
    from fewtune.core.protocol import Protocol

# Fields of a run that are not the same for all runs of a sweep, or mean something else here.
OF_ONE_RUN = {"data", "shots", "seed", "backbone", "name", "tracker", "runs", "epochs", "steps"}
OF_PROTOCOLS = {"draw", "prompts", "subset", "classes", "score_on"}
SHOWN = 40

ARGUMENT = click.Argument(["what"], metavar="FILE.toml|PROTOCOL")
SWITCHES = (
    Option(["--dry-run"], is_flag=True, help="Show the runs without making any."),
    Option(["--retention"], is_flag=True,
           help="Also measure each run on the other tasks: what tuning on one costs on these."),
    Option(["--cards"], is_flag=True, help="Also write a card and a picture for each run."),
    Option(["--quiet"], is_flag=True, help="Leave out progress."),
)  # fmt: skip
EXECUTION: tuple[Option, ...] = (*SWITCHES, *field_options(SweepPlace))
ALL_RUNS = tuple(field_options(RunConfig, leave_out=("strategy", "options")))


class SweepCommand(Command):
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
        file = SweepFile.of(what)
        return command_for(what, file).make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the protocols."""
        with formatter.section("Protocols (each with flags of its own: fewtune sweep NAME --help)"):
            formatter.write_dl(list(plugins("protocols").items()))


def first_word(args: Sequence[str]) -> str | None:
    """Return the first argument that is no flag and no flag's value."""
    switches = {
        flag
        for option in (*ALL_RUNS, *EXECUTION)
        if option.is_flag
        for flag in (*option.opts, *option.secondary_opts)
    }
    skip = False
    for word in args:
        if skip or word.startswith("-"):
            skip = not skip and "=" not in word and word not in {*switches, "-h", "--help"}
            continue
        return word
    return None


def command_for(what: str, file: SweepFile) -> Command:
    """Return the command of a protocol or a file."""
    if file.protocol is None:
        fields = [
            Option([name, f"--{name}"], type=Several(str), section="Axes",
                   shown="as the file says", help=f"The file's {key}, one or several.")
            for name, key in AXES.items()
        ]  # fmt: skip
        shared = list(_shared_options(OF_ONE_RUN))
        doc = "Make the runs of a file."
    else:
        kind = file.protocol
        fields = list(_protocol_options(kind))
        shared = list(_shared_options({*OF_ONE_RUN, *OF_PROTOCOLS, *kind.model_fields}))
        doc = f"{kind.title}: {(kind.__doc__ or '').strip()}"

    def sweep(**values: Any) -> int:
        from fewtune.cli.support.sweep_run import sweep_and_show

        names = [o.name for o in (*fields, *EXECUTION, *shared) if o.name and o not in SWITCHES]
        return sweep_and_show(file, given(click.get_current_context(), names), values)

    return Command(
        "sweep",
        params=[click.Argument(["what"], metavar=""), *fields, *EXECUTION, *shared],
        callback=sweep,
        help=doc,
        options_metavar=f"{what if file.protocol is None else file.protocol.name()} [OPTIONS]",
    )


def _protocol_options(kind: type[Protocol]) -> Iterator[Option]:
    """Yield a flag for each field of a protocol that a command line can hold."""
    section = f"{kind.title} ({kind.name()})"
    tables = [n for n, f in kind.model_fields.items() if "dict" in str(f.annotation)]
    lists = [n for n, f in kind.model_fields.items() if Parser.of(f).several and n not in tables]
    for name in lists:
        field = kind.model_fields[name]
        default = field.default
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else "all"
        shown = shown if len(shown) <= SHOWN else f"the {len(default)} of the paper"
        text = f"{field.description or name}, with commas"
        yield Option(
            [name, flag_name(name, field)],
            type=Several(str),
            section=section,
            shown="" if field.is_required() else shown,
            help=f"{text[:1].upper()}{text[1:]}.",
        )
    yield from field_options(kind, section, leave_out=[*lists, *tables])


def _shared_options(taken: set[str]) -> Iterator[Option]:
    """Yield the flags of `fewtune fit` that all runs of a sweep can share."""
    for option in ALL_RUNS:
        if option.name not in taken:
            shared = copy(option)
            shared.section = "Every run"
            yield shared


command = SweepCommand("sweep", params=[ARGUMENT, *EXECUTION], help=__doc__)
