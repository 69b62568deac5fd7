"""Finding run folders, and reading their records without torch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.core.errors import RunError, did_you_mean
from fewtune.core.files import read_json
from fewtune.model.load_strategy import zero_shot_of

if TYPE_CHECKING:
    from fewtune.core.spec import Spec

RUNS = Path("runs")


def find_run(run: str | Path) -> Path:
    """Return the run at a path, or the only one in ./runs of that name or hash.

    Raises:
        RunError: There is none, or there are several.
    """
    text, path = str(run), Path(run).expanduser()
    if path.exists():
        return path
    folders = _folders(RUNS) if path.name == text else []
    found = [f for f in folders if f.name == text or f.name.rpartition("-")[2].startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(folder.name for folder in found[:3])
        raise RunError(f"{text!r} is the start of {len(found)} runs: {some}.", hint="Type more.")
    names = [str(f) for f in _folders(path.parent if path.name != text else RUNS)]
    hint = did_you_mean(text, names) if names else "`fewtune fit` makes runs."
    raise RunError(f"There is no run {text!r}.", hint=f"{hint} See `fewtune list runs`.")


def is_run(path: Path) -> bool:
    """Whether a path is a run's folder, complete or not."""
    return (path / "spec.json").is_file() and (path / "task.json").is_file()


def summaries(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield name, spec, whether complete, and top-1 of each run in a folder, oldest first.

    A folder whose files cannot be read has an "error" instead.
    """
    for run in sorted(_folders(folder), key=lambda run: (run.stat().st_mtime, run.name)):
        try:
            yield _summary(run)
        except (RunError, KeyError, TypeError) as error:
            yield {"folder": str(run), "error": str(error)}


def _summary(run: Path) -> dict[str, Any]:
    spec = read_json(run / "spec.json")
    complete = (run / "record.json").exists()
    record = read_json(run / "record.json") if complete else {}
    return {
        "folder": str(run),
        "complete": complete,
        "strategy": spec["strategy"],
        "task": spec["task"],
        "backbone": spec["backbone"],
        "shots": spec["shots"],
        "seed": spec["seed"],
        "images": read_json(run / "task.json")["images"],
        "created": record["created"] if complete else _changed(run / "spec.json"),
        "steps_scale": record["plan"]["steps_scale"] if complete else spec["steps_scale"],
        "top1": record["metrics"].get("top1") if complete else None,
        "final": "measured" in record,
    }


def _changed(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")


def baseline_record(run: Path, spec: Spec) -> dict[str, Any] | None:
    """Return the record of the zero-shot run beside a run; None if it is not there."""
    path = run.parent / zero_shot_of(spec).folder() / "record.json"
    record: dict[str, Any] | None = read_json(path) if path.exists() else None
    return record


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if (path / "spec.json").is_file()]
