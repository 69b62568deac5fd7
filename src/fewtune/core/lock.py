"""One process at a time in a folder."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from fewtune.core.errors import FewTuneWarning, RunError


class BusyError(RunError):
    """Another process works in the folder."""


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold a folder, which is made if need be; the system releases it however the process ends.

    Args:
        wait: Wait for another process that holds it, instead of raising.

    Raises:
        BusyError: Another process holds it.
        RunError: It cannot be made.

    Warns:
        FewTuneWarning: The file system has no locks; the folder is not held.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no flock; two processes on one folder are then not noticed
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise RunError(
            f"Cannot write in {folder}: {error.strerror or error}.", hint="Choose another folder."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"Another process is working on {folder}.", hint="Wait for it to end."
            ) from error
        except OSError as error:  # NFS without a lock daemon, Lustre mounted without flock
            why = f"Nothing in {folder.parent} can be locked ({error.strerror or error})"
            warnings.warn(f"{why}: let one process at a time write there.", FewTuneWarning, 3)
        yield
