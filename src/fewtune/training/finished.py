"""Finished runs, found again without torch, so that their tables come at once."""

import sys
from pathlib import Path

from fewtune.backbones.revision import name_and_revision
from fewtune.core.run_config import RunConfig
from fewtune.core.spec import Precision
from fewtune.model.load_strategy import declared_strategy
from fewtune.training.job import Job, Result
from fewtune.training.run_folder import RunFolder

# Where a GPU may be, only torch can tell which precision "auto" is.
GPUS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
BF16 = {"amx_bf16", "avx512_bf16"}


def find_finished(job: Job) -> Result | None:
    """Return the result of a run that is complete; None if it is not, or only torch can tell.

    Raises:
        ConfigError: There is no published list of these shots and this seed.
    """
    found, precision = name_and_revision(job.config.backbone), _precision(job.config)
    if found is None or precision is None:
        return None
    name, revision = found
    asked, zero_shot = (
        RunFolder(job.config.runs / of.spec(revision, name, precision).folder())
        for of in (job, job.baseline(declared_strategy))
    )
    if not (asked.complete() and zero_shot.complete()):
        return None
    return Result(asked.path, asked.record(), zero_shot.record(), fresh=False)


def _precision(config: RunConfig) -> Precision | None:
    """Return what `choose_precision` gives; None where only torch can tell."""
    if config.precision != "auto":
        return config.precision
    gpu = config.device == "auto" and any(Path(device).exists() for device in GPUS)
    if gpu or config.device not in ("auto", "cpu") or not sys.platform.startswith("linux"):
        return None
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    return "bf16" if BF16.intersection(flags) else "fp32"
