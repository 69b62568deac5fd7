"""Tables of an evaluation: per class, what is taken for what, and the answer for each image."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from fewtune.core.csv_text import csv_text
from fewtune.core.files import write_text

Answers = Mapping[str, Sequence[int]]


def write_tables(
    out: Path, classes: Sequence[str], labels: Sequence[int], answers: Answers
) -> None:
    """Write per_class.csv and confusion.csv.

    Args:
        classes: Names of the C classes.
        labels: Class of each of the N images.
        answers: Predicted class of each image, by row: zero-shot first where it is known, the run
            last.
    """
    *_, run = answers.values()
    pairs = Counter(zip(labels, run, strict=True))
    numbers = range(len(classes))
    counts = (
        [name, *(pairs[label, taken] for taken in numbers)] for label, name in enumerate(classes)
    )
    write_text(out / "confusion.csv", csv_text([["class \\ predicted", *classes], *counts]))
    header = ["class", "images", *(f"recall {row}" for row in answers), "precision", "F1"]
    rows = (_of_class(label, name, labels, answers) for label, name in enumerate(classes))
    write_text(out / "per_class.csv", csv_text([header, *rows]))


def write_answers(
    out: Path,
    classes: Sequence[str],
    keys: Sequence[str],
    labels: Sequence[int],
    answers: Answers,
    confidence: Sequence[float],
) -> None:
    """Write predictions.csv: a row for each image, with the probability that the run gives."""
    header = ["image", "class", *(f"predicted {row}" for row in answers), "probability"]
    columns = [[classes[label] for label in column] for column in (labels, *answers.values())]
    shares = (f"{share:.6f}" for share in confidence)
    rows = zip(keys, *columns, shares, strict=True)
    write_text(out / "predictions.csv", csv_text([header, *rows]))


def _of_class(label: int, name: str, labels: Sequence[int], answers: Answers) -> list[object]:
    """Return name, images, recall of each row, precision and F1; "" where nothing tells."""
    images = labels.count(label)
    right = [
        sum(a == b == label for a, b in zip(labels, row, strict=True)) for row in answers.values()
    ]
    named = list(answers.values())[-1].count(label)
    recalls = [_share(found, images) for found in right]
    return [name, images, *recalls, _share(right[-1], named), _share(2 * right[-1], images + named)]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.4f}" if whole else ""
