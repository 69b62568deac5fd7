"""Label images with a run, or zero-shot with --classes.

\b
  fewtune predict RUN PATH...
  fewtune predict --classes cat,dog PATH...

PATH is an image, a folder (searched at any depth), a pattern in quotes, or "-" to read paths from
stdin, one per line. RUN is a run's folder, or its name or hash in ./runs. There may be any number
of images: a batch is read at a time.

An image that cannot be read is reported on stderr and skipped; the exit status is then 3.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from fewtune.backbones.model_names import resolve as resolve_backbone
from fewtune.cli.support import console
from fewtune.cli.support.prediction_lines import LINES
from fewtune.cli.support.verb import Argument, compute_options, verb
from fewtune.core.defaults import DEFAULT_BACKBONE
from fewtune.core.errors import ConfigError, DataError, FewTuneError
from fewtune.core.fields import Flag
from fewtune.core.files import write_atomic
from fewtune.core.naming import counted

if TYPE_CHECKING:
    from fewtune.training.load_run import Tuned
    from fewtune.training.prediction import Prediction

EXIT_SKIPPED = 3
Format = Literal["table", "csv", "jsonl"]
SUFFIXES: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl"}


def run(
    paths: Annotated[tuple[str, ...], Argument("[RUN] PATH...")] = (),
    classes: Annotated[
        str | None, Flag(metavar="A,B,C"), "class names, to label zero-shot without a run"
    ] = None,
    backbone: Annotated[
        str | None,
        Flag(metavar="NAME", shown=DEFAULT_BACKBONE),
        "backbone for --classes; with a run, its backbone if it was moved",
    ] = None,
    template: Annotated[
        tuple[str, ...],
        Flag(metavar="TEXT", shown="a photo of a {}."),
        "prompt for --classes, with {} for the class name; may be repeated",
    ] = (),
    style: Annotated[
        Format | None,
        Flag("--format", shown="as -o ends, else table"),
        "output format",
    ] = None,
    top: Annotated[int, Field(ge=1), "number of classes to show per image"] = 1,
    output: Annotated[
        Path | None, Flag(metavar="FILE", short="-o"), "write to this file instead of stdout"
    ] = None,
    batch: Annotated[int, Field(ge=1), "images per batch"] = 64,
    **compute: Any,
) -> int:
    """Print or write the predictions and return the exit status."""
    if classes is None and template:
        raise ConfigError(
            "--template goes with --classes; a run has prompts of its own.",
            hint="For example: fewtune predict --classes cat,dog photo.jpg",
        )
    targets = _targets(paths, with_run=classes is None)
    _require_some(targets)
    tuned = _classifier(paths, classes, backbone, template, compute)
    unread = UnreadImages()
    predictions = unread.watch(_predictions(tuned, targets, batch, top, unread))
    style = style or SUFFIXES.get(output.suffix.lower() if output else "", "table")
    _write(LINES[style](predictions, tuned.classes.names, top), output)
    if output:
        console.complain(f"wrote {counted(unread.labelled, 'prediction')} to {output}")
    if unread.count:
        console.complain(f"skipped {unread.count:,} that could not be read")
    return EXIT_SKIPPED if unread.count else 0


command = verb(run, __doc__, compute_options())


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


def _targets(paths: Sequence[str], *, with_run: bool) -> Sequence[str]:
    """Return the paths of images: all, or all but the run.

    Raises:
        ConfigError: There is none, or one is a second run, as a pattern may name it: the picture
            in its folder is nobody's image.
    """
    from fewtune.training.find_runs import is_run

    targets = paths[1:] if with_run else paths
    if not targets:
        raise ConfigError(
            "A run or an image is missing.",
            hint="Name a run first: `fewtune predict RUN photo.jpg`. Without one, name classes: "
            "`fewtune predict --classes cat,dog photo.jpg`.",
        )
    runs = [target for target in targets if target != "-" and is_run(Path(target).expanduser())]
    if runs:
        raise ConfigError(
            f"{runs[-1]} is a run, not an image; one run labels at a time.",
            hint=f"Name one run: fewtune predict {paths[0]} IMAGE...",
        )
    return targets


def _classifier(
    paths: Sequence[str],
    classes: str | None,
    backbone: str | None,
    templates: Sequence[str],
    compute: Mapping[str, Any],
) -> Tuned:
    from fewtune.core.task import DEFAULT_TEMPLATES
    from fewtune.training.find_runs import find_run
    from fewtune.training.run_folder import RunFolder

    if classes is None:
        path = find_run(paths[0])
        RunFolder(path).record()  # refused before torch is loaded
        from fewtune.training.load_run import load_run

        return load_run(path, backbone=backbone, **compute)
    names = [name.strip() for name in classes.split(",") if name.strip()]
    if len(names) < 2:
        raise ConfigError(
            f"--classes names {counted(len(names), 'class')}; at least 2 are needed.",
            hint="Separate them by commas: --classes cat,dog",
        )
    resolve_backbone(backbone or DEFAULT_BACKBONE)
    from fewtune.training.load_run import zero_shot

    return zero_shot(
        names, backbone or DEFAULT_BACKBONE, templates=templates or DEFAULT_TEMPLATES, **compute
    )


def _predictions(
    tuned: Tuned, targets: Sequence[str], batch: int, top: int, skipped: UnreadImages
) -> Iterator[Prediction]:
    from fewtune.data.image_paths import expand
    from fewtune.training.prediction import predict

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
            yield from (path for line in sys.stdin if (path := line.rstrip("\r\n")))
        else:
            yield target


def _require_some(targets: Sequence[str]) -> None:
    """Refuse, before a model is loaded, targets none of which holds an image."""
    from fewtune.data.image_paths import expand

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


def _write(lines: Iterator[str], output: Path | None) -> None:
    """Print the lines, or write them to a file that appears when all is done."""
    if output is None:
        shown = map(console.printable, lines) if sys.stdout.isatty() else lines
        sys.stdout.writelines(shown)
        return

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(lines)

    write_atomic(output, write)
