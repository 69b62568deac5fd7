"""Packages that only some original data sets need: SciPy for MATLAB files, h5py for HDF5."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from fewtune.core.errors import DataError


def read_mat(path: Path, name: str) -> Any:
    """Return an array of whole numbers of a MATLAB file of version 5, which holds no code.

    Raises:
        DataError: SciPy is not installed, or the file has no such array.
    """
    loader = optional("scipy.io", f"read {path.name}")
    try:
        array = loader.loadmat(path, variable_names=[name])[name]
    except Exception as error:  # SciPy raises whatever a damaged file leads to
        raise DataError(
            f"Cannot read '{name}' in {path}: {error}.", hint="Fetch the file again."
        ) from error
    if getattr(array, "dtype", None) is None or array.dtype.kind not in "iu":
        raise DataError(f"{path} holds '{name}' as {type(array).__name__}, expected numbers.")
    return array


def optional(module: str, purpose: str) -> Any:
    """Return a module of a package that FewTune does not require.

    Raises:
        DataError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DataError(
            f"The package '{package}' is needed to {purpose}, but it is not installed.",
            hint=f"Type: pip install {package}",
        ) from error
