"""Exports: a complete run as files that other programs load without FewTune.

An export is first written next to its place and read back by the program that it is for; only if it
then gives the logits of the live model on image files does it move into place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fewtune.core.errors import AdapterError, ConfigError, did_you_mean
from fewtune.core.files import refuse_used, write_folder
from fewtune.exports import merged, onnx_format, peft_format
from fewtune.exports.parity_probe import Probe
from fewtune.training.load_run import Tuned, load_run

__all__ = ["FORMATS", "Format", "export_run"]

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Format:
    """One way to export.

    Attributes:
        refuse: Raises AdapterError if the tuned model cannot be expressed.
        write: Fills an empty folder; may change the model.
        logits: Logits (N, C) of the probe, computed from the written files, by each of the ways in
            which a user may compute them.
    """

    refuse: Callable[[Tuned], None]
    write: Callable[[Tuned, Path, Probe], None]
    logits: Callable[[Tuned, Path, Probe], list[Tensor]]


FORMATS = {
    "hf": Format(merged.refuse, merged.write, merged.logits),
    "peft": Format(peft_format.refuse, peft_format.write, peft_format.logits),
    "onnx": Format(onnx_format.refuse, onnx_format.write, onnx_format.logits),
}


def export_run(
    run: Path,
    to: str,
    out: Path,
    images: Sequence[Path] = (),
    backbone: str | None = None,
    threads: int | None = None,
) -> Path:
    """Write a complete run to the new folder `out` and return it; all is computed in fp32.

    Args:
        to: "hf" (a merged model for transformers), "peft" (a LoRA adapter) or "onnx".
        out: Does not exist yet, or is empty.
        images: Compared in addition to the built-in probe images.
        backbone: Where the run's backbone is now, if it has moved.
        threads: CPU threads; None as torch chooses.

    Raises:
        ConfigError: There is no such format, its packages are missing, or `out` is in use.
        RunError: `run` is not a complete run, or the disk does not take the files.
        AdapterError: The run cannot be expressed in this format, or what was written does not give
            the logits of the live model; nothing is left behind.
    """
    if to not in FORMATS:
        raise ConfigError(f"There is no export format {to!r}.", hint=did_you_mean(to, FORMATS))
    refuse_used(out)
    tuned = load_run(run, "cpu", "fp32", threads, backbone)
    if tuned.head.conditional:
        raise AdapterError(
            f"{run.name} cannot be exported: its class prompts depend on the image, so every image "
            "goes through the text tower, too.",
            hint="It serves through `fewtune predict` and fewtune.Classifier.load. Other "
            "strategies can be written, with --to hf or --to onnx.",
        )
    FORMATS[to].refuse(tuned)
    probe = Probe.make(tuned.head.model.preprocess, images)
    wanted = tuned.scores(probe.examples)

    def fill(folder: Path) -> None:
        FORMATS[to].write(tuned, folder, probe)
        for found in FORMATS[to].logits(tuned, folder, probe):
            require_equal(found, wanted)

    return write_folder(out, fill)


def require_equal(found: Tensor, wanted: Tensor) -> None:
    """Compare logits (N, C), relative to the largest.

    Raises:
        AdapterError: They differ by more than `TOLERANCE`, or are not finite.
    """
    difference = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
    if not difference <= TOLERANCE:
        raise AdapterError(
            f"The export was refused: its logits differ from the live model's by {difference:.2g} "
            f"of the largest (allowed: {TOLERANCE:g}).",
            hint="Nothing was written. Please report this with the run's record.json.",
        )
