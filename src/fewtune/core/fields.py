"""Fields of pydantic models as people type them: parsed one by one, refused in words.

A field's name, default, bounds and description are written once. A flag, a key in TOML, an axis of
a sweep and a keyword argument in Python are read by the same `Parser`, so every refusal reads
alike: the flag, what it takes, and what was found.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, TypeAdapter, ValidationError

from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.naming import brief, dashed

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

BOUNDS = ("ge", "gt", "le", "lt")
MOST = 2**63 - 1  # of whole numbers: what JSON readers and torch take


@dataclass(frozen=True)
class Flag:
    """How a field is typed on a command line; stands in its `Annotated`.

    Attributes:
        name: The flag, if it is not the field's name with dashes.
        shown: Default as the help page shows it, where the value itself is chosen later.
        section: Heading in the help page; "" for the first one.
    """

    name: str = ""
    metavar: str = ""
    shown: str = ""
    section: str = ""
    hidden: bool = False
    short: str = ""


@dataclass(frozen=True)
class Wanted:
    """What a field accepts, to follow "must be", and its type's name; stands in `Annotated`."""

    text: str
    name: str


@dataclass(frozen=True)
class Former:
    """What a field or its values were called before, still understood; stands in `Annotated`.

    Attributes:
        key: The field's former name; "" for values of the same field.
        values: Former values and what they mean now.
    """

    key: str = ""
    values: tuple[tuple[Any, Any], ...] = ()


class Frozen(BaseModel):
    """A validated value that cannot be changed or given unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Parser:
    """Reads values of one type.

    Args:
        annotation: The type.
    """

    def __init__(self, annotation: Any, *metadata: Any) -> None:
        inner, optional = _without_none(annotation)
        while typing.get_origin(inner) is Annotated:
            inner, *more = typing.get_args(inner)
            metadata = (*metadata, *more)
        self.inner = inner
        self.metadata = metadata
        # Where None means that the value is chosen later, nobody types it.
        self.nullable = optional and not any(isinstance(m, Flag) and m.shown for m in metadata)
        literal = typing.get_origin(inner) is typing.Literal
        self.former = [part for part in metadata if isinstance(part, Former)]
        self.choices: tuple[str, ...] = typing.get_args(inner) if literal else ()
        self._annotation = annotation

    @classmethod
    def of(cls, field: FieldInfo) -> Parser:
        """Return the parser of a model's field."""
        return cls(field.annotation, *field.metadata)

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        annotated: Any = self._annotation
        for part in self.metadata:
            annotated = Annotated[annotated, part]
        model = isinstance(self.inner, type) and issubclass(self.inner, BaseModel)
        return TypeAdapter(annotated, config=None if model else ConfigDict(allow_inf_nan=False))

    def parse(self, value: Any, label: str) -> Any:
        """Return the value.

        Args:
            value: A text, or a value of about the right type.
            label: What names the field in messages.

        Raises:
            ConfigError: It is not valid.
        """
        for former in self.former:
            value = next((new for old, new in former.values if old == value), value)
        if self.nullable and isinstance(value, str) and value.lower() == "none":
            return None
        if self.choices and value is not None:
            folded = {str(name).lower(): name for name in self.choices}
            if str(value).lower() not in folded:
                raise ConfigError(
                    f"{label} has no {str(value)!r}.", hint=did_you_mean(str(value), self.choices)
                )
            return folded[str(value).lower()]
        key = label.removeprefix("--")
        if isinstance(value, dict) and typing.get_origin(self.inner) is not dict:
            raise ConfigError(f"[{key}] is a table.", hint="Keys stand at the top of a file.")
        if isinstance(value, list) and not self.several:
            raise ConfigError(
                f"{key} is a list of {len(value)} values, but one run takes one value.",
                hint=f"Start a run for each: `fewtune fit --{key} VALUE`.",
            )
        if isinstance(value, bool) != (self.inner is bool) and value is not None:
            wanted = "true or false" if self.inner is bool else "a number or a text in quotes"
            raise ConfigError(f"{key} must be {wanted}, found {value!r}.")
        try:
            parsed = self._adapter.validate_python(value)
        except ValidationError as error:
            raise self._refusal(value, label, error.errors()[0]["msg"]) from error
        if self.inner is int and parsed is not None and abs(parsed) > MOST:
            raise self._refusal(value, label, "too large")
        return parsed

    def _refusal(self, value: Any, label: str, reason: str) -> ConfigError:
        found = repr(value if isinstance(value, list | tuple | dict) else str(value))
        if wanted := self.wanted():
            return ConfigError(f"{label} must be {wanted}, found {found}.")
        return ConfigError(f"{label}: {reason.partition(', ')[2] or reason}; found {found}.")

    @property
    def several(self) -> bool:
        """Whether a value is a list of values."""
        return typing.get_origin(self.inner) is tuple

    @property
    def name(self) -> str:
        """What help pages call the type."""
        known = {int: "integer", float: "number"}.get(self.inner, "text")
        return next((part.name for part in self.metadata if isinstance(part, Wanted)), known)

    def bounds(self) -> str:
        """Return the bounds in words: "at least 1", "from 0 to 1"; "" without any."""
        limits = {
            name: getattr(part, name)
            for part in self.metadata
            for name in BOUNDS
            if getattr(part, name, None) is not None
        }
        ge, gt, le, lt = map(limits.get, BOUNDS)
        if ge is not None and le is not None:
            return f"from {brief(ge)} to {brief(le)}"
        words = {"at least": ge, "above": gt, "at most": le, "below": lt}
        return " and ".join(f"{word} {brief(x)}" for word, x in words.items() if x is not None)

    def wanted(self) -> str:
        """Return "a whole number from 1 to 64"; "" where only pydantic can say it."""
        for part in self.metadata:
            if isinstance(part, Wanted):
                return part.text
        number = {int: "a whole number", float: "a number"}.get(self.inner)
        if number is None:
            return ""
        return f"{number} {self.bounds()}".strip() + (" or none" if self.nullable else "")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return annotation, False


def flag_of(field: FieldInfo) -> Flag:
    """Return how a field is typed on a command line."""
    return next((part for part in field.metadata if isinstance(part, Flag)), Flag())


def flag_name(name: str, field: FieldInfo) -> str:
    """Return the flag of a field: `lambda_` is --lambda, `weight_decay` is --weight-decay."""
    return flag_of(field).name or f"--{dashed(name)}"


def parse_values(
    values: Mapping[str, Any],
    models: Sequence[type[BaseModel]],
    unknown: str,
    suggested: Iterable[str] = (),
    elsewhere: Callable[[str], str] = lambda key: "",
) -> dict[str, Any]:
    """Return values by field name, each parsed as the first model that has the field says.

    Args:
        values: By field name or by flag without its dashes; "-" and "_" are the same.
        models: Models whose fields may be named.
        unknown: Begins the message for a key that no model has; the key follows.
        suggested: Other keys that may be meant where one is unknown.
        elsewhere: Says what else has an unknown key, "" if nothing has.

    Raises:
        ConfigError: A key is unknown, or a value is not valid.
    """
    known = {key: how for model in reversed(models) for key, how in _parsers(model).items()}
    found = {}
    for key, value in values.items():
        if dashed(key) not in known:
            hint = elsewhere(key) or did_you_mean(key, [*known, *suggested])
            raise ConfigError(f"{unknown} {dashed(key)!r}.", hint=hint)
        name, flag, parser = known[dashed(key)]
        found[name] = parser.parse(value, flag)
    return found


@cache
def _parsers(model: type[BaseModel]) -> dict[str, tuple[str, str, Parser]]:
    """Return (field, flag, parser) by every key that names a field."""
    return {
        key: (name, flag_name(name, field), Parser.of(field))
        for name, field in model.model_fields.items()
        for key in keys_of(name, field)
    }


def keys_of(name: str, field: FieldInfo) -> set[str]:
    """Return every key that stands for a field, with "-": its name, its flag, its former name."""
    former = {part.key for part in field.metadata if isinstance(part, Former) and part.key}
    return {dashed(name), flag_name(name, field).removeprefix("--"), *former}


def parse_seconds(value: Any) -> Any:
    """Return the seconds of a time such as 90, 90s, 10m or 1h30m."""
    if not isinstance(value, str):
        return value
    total, digits = 0.0, ""
    for character in value.strip().lower() + "s" * value.strip()[-1:].isdigit():
        if character in "hms":
            total += float(digits or "nan") * {"h": 3600, "m": 60, "s": 1}[character]
            digits = ""
        else:
            digits += character
    if digits or not math.isfinite(total):
        raise ValueError("no time")
    return total


def parse_mib(value: Any) -> Any:
    """Return the MiB of an amount of memory such as 2GiB, 1.5GB or 800MiB; a number is in MiB."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower().replace(" ", "")
    if text[-1:] in ("g", "m"):  # as most programs do, not as pydantic, which takes 2G as 2 GB
        text += "ib"
    if not text[:1].isdecimal() or text.isdecimal() or "e" in text:
        raise ValueError("no unit")
    return int(TypeAdapter(ByteSize).validate_python(text)) / 2**20


Seconds = Annotated[
    float, BeforeValidator(parse_seconds), Wanted("a time such as 90s, 10m or 1h30m", "time")
]
Mebibytes = Annotated[
    float,
    BeforeValidator(parse_mib),
    Wanted("an amount of memory such as 2GiB or 800MiB", "memory"),
]
