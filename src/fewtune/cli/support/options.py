"""Options that are derived from pydantic fields, and commands that show them in sections.

The name, default, bounds, choices and description of a field are those of its flag, so nothing is
declared twice. Flags that are not fields use the same types.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import click
from click.core import ParameterSource

from fewtune.core.errors import ConfigError, nearest
from fewtune.core.naming import show

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from fewtune.core.fields import Parser

OPTIONS = "Options"
GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT)


class Option(click.Option):
    """An option that stands in a section of the help page.

    Args:
        section: Heading.
        shown: Default as the help page shows it, where the value itself is chosen later.
    """

    def __init__(
        self,
        declarations: Sequence[str],
        *,
        section: str = OPTIONS,
        shown: str = "",
        help: str = "",
        **rest: Any,
    ) -> None:
        super().__init__(declarations, help=f"{help}  [{shown}]" if shown else help, **rest)
        self.section = section


class Command(click.Command):
    """A command whose options are grouped by section."""

    @staticmethod
    def elsewhere(option: str) -> str:
        """Return what else has an option that this command lacks; "" if nothing has."""
        return ""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section, in the order in which the parameters name them."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                title = getattr(parameter, "section", OPTIONS)
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def instead_of(option: str, ctx: click.Context | None) -> str:
    """Return what may be meant by an option that a command does not have."""
    if ctx is None:
        return ""
    names = [name for p in ctx.command.params for name in p.opts if name.startswith("--")]
    other = ctx.command.elsewhere(option) if isinstance(ctx.command, Command) else ""
    return other or nearest(option, names)


class Group(click.Group):
    """Commands below a verb; without arguments, it prints its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Ask for help where nothing is asked for."""
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Refuse an unknown command with the closest one."""
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            path = ctx.command_path
            name = " ".join([*path.split()[1:], args[0]])
            raise ConfigError(
                f"There is no command {name!r}.",
                hint=f"{nearest(args[0], known)} See `{path} --help`.".strip(),
            )
        return super().resolve_command(ctx, args)


class ValueType(click.ParamType[Any]):
    """Values of one type, refused in words.

    Args:
        annotation: The type.
        bounds: ge, gt, le, lt, as of `pydantic.Field`.
    """

    def __init__(self, annotation: Any, **bounds: Any) -> None:
        from pydantic import Field

        from fewtune.core.fields import Parser

        self.parser = Parser(annotation, *Field(**bounds).metadata)
        self.name = self.parser.name

    @classmethod
    def of(cls, parser: Parser) -> ValueType:
        """Return the type of a field; of one with several values, that of each of them."""
        kind = cls(get_args(parser.inner)[0] if parser.several else parser.inner)
        if not parser.several:
            kind.parser, kind.name = parser, parser.name
        return kind

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return the choices as the help page shows them; None for other types."""
        choices = self.parser.choices
        return f"[{'|'.join(choices)}]" if choices else None

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value; ConfigError if it is not valid."""
        return self.parser.parse(value, param.opts[-1] if param else "value")


class Several(ValueType):
    """Values with commas between them.

    Args:
        annotation: Type of one of them.
        distinct: Refuse a value that is there twice.
    """

    def __init__(self, annotation: Any, *, distinct: bool = False, **bounds: Any) -> None:
        super().__init__(annotation, **bounds)
        self.name = "N,N,..." if distinct else "list"
        self.distinct = distinct

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the values in the order given; ConfigError if one is not valid."""
        flag = param.opts[-1] if param else "value"
        words = value if isinstance(value, list | tuple) else str(value).split(",")
        parts = [part for word in words if (part := str(word).strip())]
        found = [super(Several, self).convert(part, param, ctx) for part in parts]
        if self.distinct and len(set(found)) < len(found):
            raise ConfigError(
                f"{flag} must be distinct numbers, separated by commas, found {value!r}."
            )
        if not found:
            raise ConfigError(f"{flag} must be one value or several with commas, found {value!r}.")
        return found


def field_options(
    model: type[BaseModel],
    section: str = "",
    defaults: Mapping[str, Any] | None = None,
    leave_out: Collection[str] = (),
) -> Iterator[Option]:
    """Yield an option for each field of a pydantic model.

    Args:
        section: Heading in the help page, where a field does not name its own.
        defaults: Values that the help page shows, where they differ from the fields' own.
        leave_out: Fields without an option.
    """
    from fewtune.core.fields import Parser, flag_of

    for name, field in model.model_fields.items():
        if name in leave_out:
            continue
        default = (defaults or {}).get(name, field.default)
        yield field_option(name, field, flag_of(field).section or section or OPTIONS, default)
        for former in Parser.of(field).former:
            if former.key:
                names = tuple(str(value) for value, _ in former.values)
                kind = ValueType(Literal[names])
                yield Option([former.key, f"--{former.key}"], type=kind, hidden=True)


def field_option(
    name: str, field: FieldInfo, section: str, default: Any, *, switch: bool = False
) -> Option:
    """Return the option of a field.

    Args:
        switch: A bool has no --no- form.
    """
    from fewtune.core.fields import Parser, flag_name, flag_of

    how, parser, flag = flag_of(field), Parser.of(field), flag_name(name, field)
    text = field.description or ""
    text = f"{text[:1].upper()}{text[1:]}." if text else ""
    rest: dict[str, Any] = {"section": section, "help": text, "hidden": how.hidden}
    if parser.inner is bool:
        if switch or name.startswith("no_"):
            return Option([name, flag], is_flag=True, **rest)
        flag += "/--no-" + flag.removeprefix("--")
        return Option([name, flag], shown=show(default), default=None, **rest)
    value = "" if default in ("", ()) else show(default)
    shown = how.shown or "; ".join(filter(None, (value, parser.bounds())))
    kind, several = ValueType.of(parser), parser.several
    names = [name, *([how.short] if how.short else []), flag]
    return Option(
        names, type=kind, metavar=how.metavar or None, shown=shown, multiple=several, **rest
    )


def given(ctx: click.Context, names: Sequence[str]) -> dict[str, Any]:
    """Return those of the named values that stand on the command line or in its config file."""
    return {name: ctx.params[name] for name in names if ctx.get_parameter_source(name) in GIVEN}
