"""The contract is about tensors, so its runs are not drawn: that took two thirds of the time."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _blank_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "the_record_is_complete" not in request.node.name:
        monkeypatch.setattr("fewtune.engine.card.write_picture", _write_blank)


def _write_blank(path: Path, *_: object) -> None:
    path.write_bytes(b"")
