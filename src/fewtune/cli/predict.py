"""Label images with a run, or zero-shot with --classes.

\b
  fewtune predict RUN PATH...
  fewtune predict --classes cat,dog PATH...

PATH is an image, a folder (searched at any depth), a pattern in quotes, or "-" for paths on stdin,
one a line. RUN is a run's folder, or its name or hash in ./runs. Images are read a batch at a time,
so there may be any number of them.

An image that cannot be read is reported on stderr and skipped; the exit status is then 3.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from fewtune.cli.support import console
from fewtune.cli.support.options import Command, Option, ValueType, choice, compute_options
from fewtune.cli.support.prediction_rows import FORMATS, writer_of
from fewtune.core.defaults import DEFAULT_BACKBONE
from fewtune.core.errors import ConfigError, DataError, FewTuneError
from fewtune.core.files import write_atomic

if TYPE_CHECKING:
    from fewtune.training.load_run import Tuned
    from fewtune.training.prediction import Prediction

EXIT_SKIPPED = 3
SUFFIXES = {".csv": "csv", ".jsonl": "jsonl"}

OPTIONS = (
    click.Argument(["paths"], nargs=-1, metavar="[RUN] PATH..."),
    Option(["--classes"], metavar="A,B,C", help="Class names: label zero-shot, without a run."),
    Option(
        ["--backbone"],
        shown=DEFAULT_BACKBONE,
        metavar="NAME",
        help="Backbone for --classes; with a run, where its backbone is now.",
    ),
    Option(
        ["templates", "--template"],
        multiple=True,
        metavar="TEXT",
        help="Prompt for --classes, with {} for the class name; may be repeated.  "
        "[a photo of a {}.]",
    ),
    Option(
        ["style", "--format"],
        type=choice(*FORMATS),
        shown="as -o ends, else table",
        help="How to print.",
    ),
    Option(
        ["--top"],
        type=ValueType(int, ge=1),
        default=1,
        shown="1",
        help="Classes to name for each image.",
    ),
    Option(
        ["output", "-o", "--output"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write to a file, which appears when all is done.",
    ),
    Option(
        ["--batch"], type=ValueType(int, ge=1), default=64, shown="64", help="Images at a time."
    ),
    *compute_options(),
)


def run(
    paths: tuple[str, ...],
    classes: str | None,
    backbone: str | None,
    templates: tuple[str, ...],
    style: str | None,
    top: int,
    output: Path | None,
    batch: int,
    **compute: Any,
) -> int:
    """Print or write the predictions and return the exit status."""
    if classes is None and templates:
        raise ConfigError(
            "--template goes with --classes; a run has prompts of its own.",
            hint="For example: fewtune predict --classes cat,dog photo.jpg",
        )
    targets = paths if classes is not None else paths[1:]
    if not targets:
        raise ConfigError("No image was given.", hint="See `fewtune predict --help`.")
    _refuse_runs(paths, targets)
    _require_some(targets)
    tuned = _classifier(paths, classes, backbone, templates, compute)
    style = style or SUFFIXES.get(output.suffix.lower() if output else "", "table")
    skipped = UnreadImages()
    predictions = skipped.watch(_predictions(tuned, targets, batch, top, skipped))
    if output is None:
        _write(sys.stdout, style, predictions, tuned, top)
    else:

        def write(temporary: Path) -> None:
            with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
                _write(file, style, predictions, tuned, top)

        write_atomic(output, write)
        console.complain(f"wrote {skipped.labelled:,} predictions to {output}")
    if skipped.count:
        console.complain(f"skipped {skipped.count:,} that could not be read")
    return EXIT_SKIPPED if skipped.count else 0


command = Command("predict", params=list(OPTIONS), callback=run, help=__doc__)


class UnreadImages:
    """Reports what cannot be read, and counts it."""

    def __init__(self) -> None:
        self.count = 0
        self.labelled = 0

    def report(self, reason: str) -> None:
        """Say why something is skipped."""
        self.count += 1
        console.complain(f"skipped: {reason}")

    def watch(self, predictions: Iterator[Prediction]) -> Iterator[Prediction]:
        """Yield the predictions of images that could be read."""
        for prediction in predictions:
            if prediction.error is not None:
                self.report(prediction.error)
            else:
                self.labelled += 1
                yield prediction


def _refuse_runs(paths: Sequence[str], targets: Sequence[str]) -> None:
    """Refuse a second run, as a pattern may name it: its picture is no image of anybody.

    Raises:
        ConfigError: An image to label is a run's folder.
    """
    from fewtune.cli.support.find_runs import is_run

    runs = [target for target in targets if target != "-" and is_run(Path(target).expanduser())]
    if runs:
        raise ConfigError(
            f"{runs[-1]} is a run, not an image; one run labels at a time.",
            hint=f"Name one run: fewtune predict {paths[0]} IMAGE...",
        )


def _classifier(
    paths: Sequence[str],
    classes: str | None,
    backbone: str | None,
    templates: Sequence[str],
    compute: Mapping[str, Any],
) -> Tuned:
    from fewtune.cli.support.find_runs import find_run
    from fewtune.core.task import DEFAULT_TEMPLATES
    from fewtune.training.load_run import load_run, zero_shot

    chosen = {name: value for name, value in compute.items() if value is not None}
    if classes is None:
        return load_run(find_run(paths[0]), backbone=backbone, **chosen)
    names = [name.strip() for name in classes.split(",") if name.strip()]
    if len(names) < 2:
        raise ConfigError(
            f"--classes names {len(names)} class; at least 2 are needed.",
            hint="Separate them by commas: --classes cat,dog",
        )
    return zero_shot(
        names, backbone or DEFAULT_BACKBONE, templates=templates or DEFAULT_TEMPLATES, **chosen
    )


def _predictions(
    tuned: Tuned, targets: Sequence[str], batch: int, top: int, skipped: UnreadImages
) -> Iterator[Prediction]:
    from fewtune.training.prediction import expand, predict

    def images() -> Iterator[Path]:
        for target in _lines(targets):
            try:
                yield from expand([target])
            except FewTuneError as error:
                skipped.report(str(error))

    return predict(tuned, images(), batch, top)


def _lines(targets: Sequence[str]) -> Iterator[str]:
    """Yield the targets, and for "-" the lines of stdin."""
    for target in targets:
        if target == "-":
            yield from (line for line in map(_without_end, sys.stdin) if line)
        else:
            yield target


def _without_end(line: str) -> str:
    return line.rstrip("\r\n")


def _require_some(targets: Sequence[str]) -> None:
    """Refuse, before a model is loaded, a command of which nothing can come.

    Raises:
        DataError: None of the targets holds an image.
    """
    from fewtune.training.prediction import expand

    failures = []
    for target in targets:
        if target == "-":
            return
        try:
            next(expand([target]))
            return
        except DataError as error:
            failures.append(error)
    raise failures[0]


def _write(
    file: TextIO, style: str, predictions: Iterator[Prediction], tuned: Tuned, top: int
) -> None:
    writer: Any = writer_of(style, tuned.classes.names, top)
    file.write(writer.head())
    for prediction in predictions:
        file.write(writer.row(prediction))
