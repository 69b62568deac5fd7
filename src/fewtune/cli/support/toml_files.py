"""`--config FILE.toml`: the same keys as the flags, checked as strictly as the flags."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.naming import dashed

NOT_IN_FILES = ("help", "config", "seeds")


def read_toml(path: Path) -> dict[str, Any]:
    """Return {key: value} with "-" for "_" in keys.

    Raises:
        ConfigError: The file cannot be read or is not TOML.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}.", hint="A line looks like: lr = 2e-4"
        ) from error
    read: dict[str, Any] = _dashed(values)
    return read


def _dashed(values: Any) -> Any:
    if isinstance(values, list):
        return [_dashed(value) for value in values]
    if not isinstance(values, dict):
        return values
    return {dashed(key): _dashed(value) for key, value in values.items()}


def as_defaults(
    values: dict[str, Any], path: Path, parameters: Sequence[click.Parameter]
) -> dict[str, Any]:
    """Return the values by parameter name, for `Context.default_map`.

    Raises:
        ConfigError: A key is no flag, or a value is not what the flag takes.
    """
    options = {p.opts[0].removeprefix("--"): p for p in parameters if isinstance(p, click.Option)}
    options = {key: option for key, option in options.items() if key not in NOT_IN_FILES}
    defaults = {}
    for key, value in values.items():
        if key not in options:
            raise ConfigError(
                f"{path} has the unknown key {key!r}.",
                hint=f"{did_you_mean(key, options)} Keys are the flags of `fewtune fit`.",
            )
        option = options[key]
        assert option.name is not None
        try:
            defaults[option.name] = _check(key, value, option)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error.what}", hint=error.hint) from error
    return defaults


def _check(key: str, value: Any, option: click.Option) -> Any:
    if isinstance(value, dict):
        raise ConfigError(f"[{key}] is a table.", hint="Keys stand at the top, without sections.")
    if isinstance(value, list):
        if not option.multiple:
            raise ConfigError(
                f"{key} is a list of {len(value)} values, but one run takes one value.",
                hint=f"Start a run for each: `fewtune fit --{key} VALUE`.",
            )
        return [_scalar(key, entry, option) for entry in value]
    return [_scalar(key, value, option)] if option.multiple else _scalar(key, value, option)


def _scalar(key: str, value: Any, option: click.Option) -> Any:
    if isinstance(value, bool) != bool(option.is_flag) or isinstance(value, dict | list):
        wanted = "true or false" if option.is_flag else "a number or a text in quotes"
        raise ConfigError(f"{key} must be {wanted}, found {value!r}.")
    if option.is_flag:
        return value
    text = value if isinstance(value, str) else repr(value)
    option.type.convert(text, option, None)
    return text
