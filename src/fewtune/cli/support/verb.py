"""Verbs from the signatures of functions: a parameter is a flag or a word of the command line."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import click
from pydantic.fields import FieldInfo

from fewtune.cli.support.options import (
    OPTIONS,
    Command,
    Option,
    ValueType,
    field_option,
    field_options,
    given,
)
from fewtune.core.fields import Flag, Parser, flag_of
from fewtune.core.run_config import ExecutionSettings

Json = Annotated[bool, Flag("--json"), "print one JSON object on stdout; words go to stderr"]
Root = Annotated[
    Path | None,
    Flag(metavar="DIR", shown="the download folder"),
    "folder that holds datasets by name",
]
MovedBackbone = Annotated[
    str | None,
    Flag(metavar="PATH", shown="where the run found it"),
    "the run's backbone, if it was moved",
]
Mixed = Annotated[bool, "allow runs of different versions of FewTune, or of changed images"]


@dataclass(frozen=True)
class Argument:
    """What makes a parameter of a verb a word and not a flag, in its `Annotated`."""

    metavar: str


def verb(function: Callable[..., Any], help: str = "", more: Iterable[Option] = ()) -> Command:
    """Return the command that calls a function: its parameters are flags and words.

    A parameter's `Annotated` holds its help, a `Flag` or an `Argument`, and bounds as
    `pydantic.Field` has them. One without a default is required.

    Args:
        help: For the help page; "" for the function's docstring.
        more: Options that are keywords of the function.
    """
    hints = get_type_hints(function, include_extras=True)
    params: list[click.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            params += more
        else:
            params.append(_parameter(name, hints[name], parameter.default))

    def call(**values: Any) -> Any:
        return function(**given(click.get_current_context(), list(values)))

    return Command(function.__name__, params=params, callback=call, help=help or function.__doc__)


def _parameter(name: str, annotation: Any, default: Any) -> click.Parameter:
    field = FieldInfo.from_annotation(annotation)
    required = default is inspect.Parameter.empty
    for part in field.metadata:
        if isinstance(part, Argument):
            parser = Parser.of(field)
            return click.Argument(
                [name],
                metavar=part.metavar,
                type=ValueType.of(parser),
                nargs=-1 if parser.several else 1,
                required=required,
            )
        if isinstance(part, str):
            field.description = part
    shown = "" if required or default is None else default
    section = flag_of(field).section or OPTIONS
    option = field_option(name, field, section, shown, switch=True)
    option.required = required
    return option


def compute_options() -> Iterator[Option]:
    """Yield --device, --precision and --threads, as `fewtune fit` has them."""
    for option in field_options(ExecutionSettings):
        if option.name in ("device", "precision", "threads"):
            option.section = OPTIONS
            yield option
