"""Summary of finished runs: rows of tables, changes per class, intervals, and words for them.

Pure functions of records, so that the terminal, the model card, the plot and the web page show the
same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fewtune.core.naming import counted
from fewtune.model.load_strategy import declared_strategy
from fewtune.model.strategy import Strategy

Record = dict[str, Any]
UNPROVEN = "class order unproven"
Recalls = Sequence[float | None]


@dataclass(frozen=True)
class SummaryRow:
    """One run in a table.

    Attributes:
        metrics: Shares in [0, 1] by name: top1, top5, recall, precision, f1, calibration_error;
            None where the test images cannot tell.
        gain: Top-1 minus that of zero-shot; None for zero-shot itself.
        seconds: Duration of training, attachment included; 0 where nothing is trained.
        steps_scale: Factor on the recipe's length; 1 is the published or default length.
        best: Whether no row has a higher top-1.
    """

    title: str
    metrics: dict[str, float | None]
    gain: float | None
    parameters: int
    steps: int
    seconds: float
    steps_scale: float
    best: bool


def strategy_of(record: Record) -> Strategy:
    """Return the strategy with its options, as the record names it."""
    spec = record["spec"]
    return declared_strategy(spec["strategy"]).model_validate(spec["options"])


def scored_records(record: Record, zero_shot: Record | None) -> tuple[Record, Record | None]:
    """Return the records with the numbers of a run: its own, or those before a final model."""
    measured = record.get("measured")
    if not measured:
        return record, zero_shot
    task = record["task"] | {"images": measured["images"]}
    scored, base = (record | of | {"task": task} for of in (measured, measured["zero_shot"]))
    return scored, base


def steps_scale(record: Record) -> float:
    """Return the factor on the recipe's length; 1 for a run that trained nothing."""
    recipe = record["spec"]["recipe"]
    if recipe is None or recipe.get("length") == 0:
        return 1.0
    return float(record["plan"]["steps_scale"])


def doubts(record: Record) -> tuple[str, ...]:
    """Return the notes on the task that throw doubt on zero-shot scores; tables mark these with †.

    Where it is not published which label means what, a trained head is unaffected.
    """
    return tuple(note for note in record["task"]["notes"] if note.startswith(UNPROVEN))


def rows(zero_shot: Record, records: Sequence[Record]) -> tuple[SummaryRow, ...]:
    """Return a row for zero-shot, then one for each other record, in the order given."""
    others = [record for record in records if record["hash"] != zero_shot["hash"]]
    every = [zero_shot, *others]
    highest = max(record["metrics"]["top1"] for record in every)
    doubtful = doubts(zero_shot)
    return tuple(
        SummaryRow(
            title=strategy_of(record).title + (" †" if record is zero_shot and doubtful else ""),
            metrics=dict(record["metrics"]),
            gain=None
            if record is zero_shot
            else record["metrics"]["top1"] - zero_shot["metrics"]["top1"],
            parameters=record["cost"]["trained_parameters"],
            steps=record["cost"]["steps"],
            seconds=record["cost"]["training_s"] if record["spec"]["recipe"] else 0.0,
            steps_scale=steps_scale(record),
            best=record["metrics"]["top1"] == highest,
        )
        for record in every
    )


def changes(before: Recalls, after: Recalls) -> list[tuple[int, float]]:
    """Return (label, change of recall) of the classes that have test images, gains first.

    Args:
        before: Recall of each class in [0, 1]; None for one without test images.
        after: The same, of another run.
    """
    pairs = (
        (label, new - old)
        for label, (old, new) in enumerate(zip(before, after, strict=True))
        if old is not None and new is not None
    )
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def largest_changes(ordered: list[tuple[int, float]], limit: int) -> list[tuple[int, float]]:
    """Return the `limit` largest changes of `changes`, half of them from each side.

    A side with fewer losses (or gains) than its half leaves its room to the other; classes that
    did not change are shown only if all classes fit.
    """
    if len(ordered) <= limit:
        return ordered
    gains = [pair for pair in ordered if pair[1] > 0]
    losses = [pair for pair in ordered if pair[1] < 0]
    losing = min(len(losses), max(limit // 2, limit - len(gains)))
    return gains[: limit - losing] + losses[len(losses) - losing :]


def shots_text(shots: int | None) -> str:
    """Return "16 shots", "1 shot" or "all images"."""
    return "all images" if shots is None else counted(shots, "shot")


def shorten(name: str, characters: int) -> str:
    """Return a name on one line, cut to `characters` with an ellipsis."""
    name = " ".join(name.split())
    return name if len(name) <= characters else name[: characters - 1].rstrip() + "…"
