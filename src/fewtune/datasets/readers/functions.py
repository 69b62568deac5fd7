"""Functions that readers take, by the names that they have in dataset files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BeforeValidator

from fewtune.core.errors import did_you_mean


def named(functions: Mapping[str, Callable[..., Any]]) -> BeforeValidator:
    """Let a file name the function that a reader takes."""

    def function(name: object) -> object:
        if isinstance(name, str) and name not in functions:
            raise ValueError(f"there is no {name!r}. {did_you_mean(name, functions)}")
        return functions[name] if isinstance(name, str) else name

    return BeforeValidator(function)
