"""Runs written as an engine would, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewtune.core.files import write_json, write_text
from fewtune.core.spec import ZERO_SHOT, Recipe, Spec
from fewtune.reports import tables
from fewtune.reports.study_runs import Study, group, load_runs

METRICS = ("top1", "top5", "recall", "f1", "calibration_error")


@dataclass(frozen=True)
class Writer:
    """Writes runs of a two-class task with ten test images."""

    folder: Path

    def run(
        self,
        strategy: str,
        task: str,
        top1: float,
        *,
        seed: int = 1,
        version: str = "1",
        notes: Sequence[str] = (),
        predictions: Sequence[tuple[int, int]] = (),
        **changes: object,
    ) -> Path:
        """Write a run and return its folder.

        Args:
            predictions: Label and prediction of each test image; none writes no file.
            changes: Fields of the spec.
        """
        recipe = None if strategy == ZERO_SHOT else Recipe()
        options = {} if strategy != "linear-probe" else {"type": "vision"}
        spec = Spec(
            strategy=strategy, version=1, options=options, recipe=recipe, task=task, data=task,
            backbone="tiny", revision="r", precision="fp32", shots=4, seed=seed,
        ).model_copy(update=changes)  # fmt: skip
        spec = spec if recipe else spec.untrained()
        folder = self.folder / spec.folder()
        value = spec.model_dump(mode="json")
        record = {
            "spec": value,
            "hash": spec.hash(),
            "plan": {"steps_scale": spec.steps_scale},
            "environment": {"fewtune": version, "torch": "2", "processor": "abacus"},
            "task": {"classes": ["a & b", "c_d"], "notes": [*notes], "images": {"test": 10}},
            "metrics": dict.fromkeys(METRICS, top1),
            "per_class": [top1, None],
            "cost": {"trained_parameters": 10, "steps": 2, "training_s": 60, "peak_memory_mib": 5},
        }  # fmt: skip
        folder.mkdir(parents=True)
        write_json(folder / "spec.json", value)
        write_json(folder / "record.json", record)
        if predictions:
            lines = [f"{i},{a},{b},0.5\n" for i, (a, b) in enumerate(predictions)]
            write_text(
                folder / "predictions.csv", "key,label,prediction,confidence\n" + "".join(lines)
            )
        return folder


def study(*places: Path) -> Study:
    """Return the only study below some folders."""
    found, notes = load_runs(places)
    (only,) = group(found, notes)
    return only


def texts(table: tables.ReportTable) -> dict[str, list[str]]:
    """Return the entries of a table by the title of the row."""
    return {row.title: [entry.text for entry in row.entries] for row in table.rows}
