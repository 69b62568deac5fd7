"""Atomic folders: one is there completely or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from fewtune.core.errors import ConfigError, RunError
from fewtune.core.files import remove_leftovers, temporary_sibling


def write_folder(path: Path, fill: Callable[[Path], object]) -> Path:
    """Let `fill` fill a temporary sibling of `path`, move it into place, and return `path`.

    Raises:
        ConfigError: `path` exists and is not an empty folder; it is not touched.
        RunError: The disk is full or the place is not writable. As with an error of `fill`, nothing
            is left behind.
    """
    refuse_used(path)
    out = Path(os.path.realpath(path.expanduser()))
    remove_leftovers(out)
    try:
        with temporary_sibling(out) as temporary:
            temporary.mkdir(parents=True)
            fill(temporary)
            if out.exists():
                out.rmdir()
            os.replace(temporary, out)
    except (OSError, shutil.Error) as error:
        raise RunError(
            f"Cannot write {out}: {getattr(error, 'strerror', None) or error}.",
            hint="Free some space or choose another folder.",
        ) from error
    return out


def refuse_used(path: Path) -> None:
    """Refuse a place that is taken, before work is done for it.

    Raises:
        ConfigError: `path` exists and is not an empty folder.
    """
    out = path.expanduser().absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out} exists already.", hint="Choose a new folder, or remove it first.")
