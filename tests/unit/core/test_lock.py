"""Locks: held, waited for, and file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from fewtune.core.errors import FewTuneWarning
from fewtune.core.lock import BusyError, locked


def test_a_held_folder_is_busy(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "run", wait=False),
        pytest.raises(BusyError),
        locked(tmp_path / "run", wait=False),
    ):
        pass
    with locked(tmp_path / "run", wait=False):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.warns(FewTuneWarning, match=f"Nothing in {tmp_path} can be locked"),
        locked(tmp_path / "run", wait=False),
    ):
        (tmp_path / "run" / "x").touch()
