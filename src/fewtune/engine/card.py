"""The two files of a run that people open first: a card in words and a picture."""

from __future__ import annotations

from typing import Any

from fewtune.core.files import write_text
from fewtune.engine.record import RunFolder


def write_card(
    folder: RunFolder, record: dict[str, Any], zero_shot: dict[str, Any] | None
) -> None:
    """Write README.md of a run."""
    lines = [f"# {folder.path.name}", ""]
    write_text(folder.path / "README.md", "\n".join(lines))
