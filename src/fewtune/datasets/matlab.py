"""MATLAB files, read by SciPy, and the packages that only the authors' original files need."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from fewtune.core.errors import DataError


def read_mat(path: Path, name: str, *, squeeze: bool = False) -> Any:
    """Return a variable of a MATLAB file of version 4 to 7 as an array of its shape there.

    Args:
        squeeze: Without axes of length 1, and texts and structures as values.

    Raises:
        DataError: The file is missing or damaged, has no such variable, or SciPy is not installed.
    """
    loader = optional("scipy.io", f"read {path.name}")
    try:
        return loader.loadmat(path, variable_names=[name], squeeze_me=squeeze)[name]
    except Exception as error:  # SciPy raises whatever a damaged file leads to
        why = "there is no such array" if isinstance(error, KeyError) else error
        raise DataError(
            f"Cannot read '{name}' in {path}: {why}.", hint="Fetch the file again."
        ) from error


def read_integers(path: Path, name: str) -> Any:
    """Return an array of whole numbers of a MATLAB file, at least (1, 1), in its shape there.

    Raises:
        DataError: As of `read_mat`; or the array holds anything but whole numbers.
    """
    array = read_mat(path, name)
    if array.dtype.kind not in "iuf":
        raise DataError(f"Cannot read '{name}' in {path}: it holds no numbers.")
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # of infinities, which are not whole
            whole = array.astype(np.int64)
        if not (whole == array).all():
            raise DataError(f"Cannot read '{name}' in {path}: its numbers are not whole.")
        return whole
    return array


def optional(module: str, purpose: str, package: str = "") -> Any:
    """Return a module of a package that FewTune needs for files of benchmarks alone.

    Args:
        package: Its name, if it is not that of the module.

    Raises:
        DataError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = package or module.partition(".")[0]
        raise DataError(
            f"The package '{package}' is needed to {purpose}, but it is not installed.",
            hint='Type: pip install "fewtune[originals]"',
        ) from error
