"""Options that are derived from pydantic fields, and a command that shows them in sections.

The name, default, bounds, choices and description of a field are those of its flag: a strategy's
fields need no second declaration. Flags that are not fields use the same types, so every refusal
reads alike: the flag, what it takes, and what was found.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.naming import brief, dashed

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

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


class Group(click.Group):
    """Commands below a verb; when another is asked for, the closest is named."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Refuse an unknown command."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise ConfigError(
                f"There is no command '{self.name} {args[0]}'.",
                hint=did_you_mean(args[0], self.commands),
            )
        return super().resolve_command(ctx, args)


class Kind(click.ParamType[Any]):
    """Base of the types below."""

    def refuse(self, value: object, param: click.Parameter | None) -> ConfigError:
        """Return the error for a value that is not of this type."""
        return ConfigError(f"{flag_of(param)} must be {self.wanted()}, found {value!r}.")

    def wanted(self) -> str:
        """Return what is accepted, to follow "must be"."""
        raise AssertionError(f"{type(self).__name__} does not say what it accepts")


class Number(Kind):
    """A number within bounds; "none" where the field may be unset."""

    def __init__(
        self,
        whole: bool,
        *,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
        lt: float | None = None,
        nullable: bool = False,
    ) -> None:
        self.whole = whole
        self.name = "integer" if whole else "number"
        self.ge, self.gt, self.le, self.lt = ge, gt, le, lt
        self.nullable = nullable

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        """Return the number.

        Raises:
            ConfigError: Not a number, or out of bounds.
        """
        if self.nullable and isinstance(value, str) and value.lower() == "none":
            return None
        try:
            number = int(value) if self.whole else float(value)
        except (TypeError, ValueError):
            raise self.refuse(value, param) from None
        if isinstance(value, bool) or number != float(value) or not self._within(number):
            raise self.refuse(value, param)
        return number

    def _within(self, number: float) -> bool:
        return (
            math.isfinite(number)
            and (self.ge is None or number >= self.ge)
            and (self.gt is None or number > self.gt)
            and (self.le is None or number <= self.le)
            and (self.lt is None or number < self.lt)
        )

    def bounds(self) -> str:
        """Return the bounds in words: "at least 1", "from 0 to 1"; "" without any."""
        if self.ge is not None and self.le is not None:
            return f"from {self.ge:g} to {self.le:g}"
        words = {"at least": self.ge, "above": self.gt, "at most": self.le, "below": self.lt}
        return " and ".join(f"{word} {x:g}" for word, x in words.items() if x is not None)

    def wanted(self) -> str:
        """Return "a whole number from 1 to 64"."""
        text = f"{'a whole number' if self.whole else 'a number'} {self.bounds()}".strip()
        return text + (" or none" if self.nullable else "")


class Numbers(Kind):
    """Distinct numbers, separated by commas.

    Args:
        each: What one of them is.
    """

    def __init__(self, each: Number) -> None:
        self.each = each
        self.name = "N,N,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float | None, ...]:
        """Return the numbers in the order given.

        Raises:
            ConfigError: One is not valid, or there twice.
        """
        found = tuple(self.each.convert(part, param, ctx) for part in str(value).split(","))
        if len(set(found)) < len(found):
            raise self.refuse(value, param)
        return found

    def wanted(self) -> str:
        """Return the accepted form."""
        return "distinct numbers, separated by commas"


class OneOf(Kind):
    """One of several names, in any case."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.name = "|".join(self.names)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the names as the help page shows them."""
        return f"[{self.name}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name as it is declared.

        Raises:
            ConfigError: It is none of them; the closest is named.
        """
        folded = {name.lower(): name for name in self.names}
        if str(value).lower() not in folded:
            raise ConfigError(
                f"{flag_of(param)} has no {str(value)!r}.",
                hint=did_you_mean(str(value), self.names),
            )
        return folded[str(value).lower()]


class Checked(Kind):
    """Any other type that pydantic can validate."""

    def __init__(self, field: FieldInfo) -> None:
        from pydantic import TypeAdapter

        self.name = "text"
        annotated: Any = typing.Annotated[field.annotation, field]
        self._adapter: Any = TypeAdapter(annotated)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the validated value.

        Raises:
            ConfigError: It is not valid.
        """
        from pydantic import ValidationError

        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].partition(", ")[2] or error.errors()[0]["msg"]
            raise ConfigError(f"{flag_of(param)}: {reason}; found {value!r}.") from None


class Duration(Kind):
    """A time such as 90, 90s, 10m or 1h30m, in seconds."""

    name = "time"
    units: typing.ClassVar[dict[str, int]] = {"h": 3600, "m": 60, "s": 1}

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds.

        Raises:
            ConfigError: Not a time above 0.
        """
        text = str(value).strip().lower()
        total, digits = 0.0, ""
        for character in f"{text}s" if text[-1:].isdigit() else text:
            if character in self.units:
                total += float(digits) * self.units[character] if _is_decimal(digits) else math.nan
                digits = ""
            else:
                digits += character
        if digits or not 0 < total < math.inf:
            raise self.refuse(value, param)
        return total

    def wanted(self) -> str:
        """Return the accepted forms."""
        return "a time such as 90s, 10m or 1h30m"


class Memory(Kind):
    """An amount of memory such as 2GiB, 1.5GB or 800MiB, in MiB."""

    name = "memory"
    units: typing.ClassVar[dict[str, float]] = {
        "gib": 1024, "mib": 1, "gb": 1e9 / 2**20, "mb": 1e6 / 2**20, "g": 1024, "m": 1,
    }  # fmt: skip

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return MiB.

        Raises:
            ConfigError: Not an amount above 0 with its unit.
        """
        text = str(value).strip().lower().replace(" ", "")
        for unit, mib in self.units.items():
            digits = text.removesuffix(unit)
            if digits != text and _is_decimal(digits) and float(digits) > 0:
                return float(digits) * mib
        raise self.refuse(value, param)

    def wanted(self) -> str:
        """Return the accepted forms."""
        return "an amount of memory such as 2GiB or 800MiB"


def _is_decimal(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def flag_of(param: click.Parameter | None) -> str:
    """Return the flag or the argument's name, for messages."""
    return param.opts[-1] if param is not None else "value"


def flag_name(field: str) -> str:
    """Return the flag of a field: `lambda_` is --lambda, `weight_decay` is --weight-decay."""
    return "--" + dashed(field)


def field_options(
    model: type[BaseModel], section: str, defaults: Mapping[str, Any], leave_out: Sequence[str] = ()
) -> Iterator[Option]:
    """Yield an option for each field of a pydantic model.

    Args:
        defaults: Values that the help page shows, where they differ from the fields' own.
    """
    for name, field in model.model_fields.items():
        if name not in leave_out:
            yield _option(name, field, section, defaults.get(name, field.default))


def _option(name: str, field: FieldInfo, section: str, default: Any) -> Option:
    annotation, nullable = _without_none(field.annotation)
    flag = flag_name(name)
    text = field.description or ""
    text = f"{text[:1].upper()}{text[1:]}." if text else ""
    rest: dict[str, Any] = {"section": section, "help": text, "default": None}
    if annotation is bool:
        flag += "/--no-" + flag.removeprefix("--")
        return Option([name, flag], shown="yes" if default else "no", **rest)
    kind = _kind(annotation, field, nullable)
    shown = show(default)
    if isinstance(kind, Number) and kind.bounds():
        shown += f"; {kind.bounds()}"
    return Option([name, flag], type=kind, shown=shown, **rest)


def _kind(annotation: Any, field: FieldInfo, nullable: bool) -> Kind:
    if typing.get_origin(annotation) is typing.Literal:
        return OneOf(typing.get_args(annotation))
    if annotation in (int, float):
        bounds: dict[str, Any] = {
            bound: getattr(constraint, bound)
            for constraint in field.metadata
            for bound in ("ge", "gt", "le", "lt")
            if getattr(constraint, bound, None) is not None
        }
        return Number(annotation is int, nullable=nullable, **bounds)
    return Checked(field)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return annotation, False


def show(value: object) -> str:
    """Return a default as the help page shows it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return brief(value)


def given(ctx: click.Context, names: Sequence[str]) -> dict[str, Any]:
    """Return those of the named values that stand on the command line or in its config file."""
    return {name: ctx.params[name] for name in names if ctx.get_parameter_source(name) in GIVEN}
