"""TOML files: the same keys as the flags, checked as strictly as the flags."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fewtune.core.errors import ConfigError
from fewtune.core.naming import dashed


def read_toml(path: Path) -> dict[str, Any]:
    """Return {key: value} with "-" for "_" in keys.

    Raises:
        ConfigError: The file cannot be read or is not TOML.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, nested too deeply
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


@contextmanager
def named_in(where: str, unknown: str = "") -> Iterator[None]:
    """Name a file in errors about what stands in it.

    Args:
        where: The file; "" leaves errors as they are.
        unknown: How messages begin that name the file already.
    """
    try:
        yield
    except ConfigError as error:
        if not where or (unknown and error.what.startswith(unknown)):
            raise
        raise ConfigError(f"{where}: {error.what}", hint=error.hint) from error
