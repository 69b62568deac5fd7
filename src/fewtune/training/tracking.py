"""Who is told what happens in a run: the log file, the terminal, TensorBoard, Weights & Biases."""

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fewtune.core.errors import ConfigError, RunError, did_you_mean
from fewtune.core.files import load_json, write_text


@dataclass(frozen=True)
class Step:
    """One optimizer step of `total`, numbered from 1, and an estimate of the seconds left."""

    phase: str
    step: int
    total: int
    loss: float
    lr: float
    left_s: float


@dataclass(frozen=True)
class Estimate:
    """What training is going to cost, from a probe step.

    Attributes:
        memory_mib: Peak resident (CPU) or allocated (GPU) memory after the probe.
    """

    steps: int
    seconds: float
    memory_mib: float


@dataclass(frozen=True)
class Forecast:
    """What a whole run is going to take, before it begins.

    Attributes:
        image_s: Seconds in which an image is read and encoded.
        load: How busy each core is with other work: 1 is fully.
        shorter: (command, seconds) of runs on the same images that take less than half.
    """

    seconds: float
    image_s: float
    device: str
    precision: str
    load: float
    shorter: tuple[tuple[str, float], ...]


class Tracker:
    """Base of everything that follows a run; every method may be left out."""

    def forecast(self, probe: Callable[[], Forecast]) -> None:
        """A run is going to be made; `probe` measures what it will take, if it is called."""

    def start(self, folder: Path, spec: dict[str, Any]) -> None:
        """A run begins or continues in `folder`."""

    def status(self, text: str) -> None:
        """Something begins that takes a moment: "encoding 1,000 test images"."""

    def estimate(self, estimate: Estimate) -> None:
        """Training is about to start."""

    def log(self, step: Step) -> None:
        """An optimizer step was made."""

    def replay(self, steps: Sequence[Step]) -> None:
        """These optimizer steps were made together with other runs."""
        for step in steps:
            self.log(step)

    def finish(self, record: dict[str, Any]) -> None:
        """The run is complete; `record` is its record.json."""


class Trackers(Tracker):
    """Tells several trackers: what is called on it is called on each, in their order."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = tuple(trackers)
        for event in ("forecast", "start", "status", "estimate", "log", "replay", "finish"):
            setattr(self, event, partial(self._tell, event))

    def _tell(self, event: str, *what: Any) -> None:
        for tracker in self.trackers:
            getattr(tracker, event)(*what)


class JsonLines(Tracker):
    """Writes `metrics.jsonl` in the run's folder: one line a step, then one with the results.

    A resumed run first drops the lines of steps that it is going to repeat.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._cleaned: set[str] = set()

    def start(self, folder: Path, spec: dict[str, Any]) -> None:
        """Remember where to write."""
        self._path = folder / "metrics.jsonl"
        self._cleaned = set()

    def log(self, step: Step) -> None:
        """Append a step."""
        self.replay([step])

    def replay(self, steps: Sequence[Step]) -> None:
        """Append steps."""
        for step in steps:
            if step.phase not in self._cleaned:
                self._cleaned.add(step.phase)
                self._keep(partial(_is_before, step))
        self._append([{k: v for k, v in vars(step).items() if k != "left_s"} for step in steps])

    def finish(self, record: dict[str, Any]) -> None:
        """Append the results, once."""
        self._keep(lambda line: "step" in line)
        self._append([{"metrics": record["metrics"]}])

    def _append(self, values: Sequence[dict[str, Any]]) -> None:
        assert self._path is not None
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(value) + "\n" for value in values))
        except OSError as error:
            raise RunError(
                f"Cannot write {self._path}: {error.strerror or error}.",
                hint="Free some space and type the same command again; the run continues.",
            ) from error

    def _keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the other lines, and what was torn by a kill, damaged, or the results."""
        assert self._path is not None
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                kept += [line] if wanted(load_json(line)) else []
            except (ValueError, KeyError, TypeError):
                continue
        write_text(self._path, "".join(line + "\n" for line in kept))


def _is_before(step: Step, line: dict[str, Any]) -> bool:
    """Whether a line is of an earlier step or of another phase."""
    return bool(line["phase"] != step.phase or line["step"] < step.step)


class TensorBoard(Tracker):
    """Writes TensorBoard event files below the run's folder."""

    def __init__(self) -> None:
        self._tensorboard = _library("torch.utils.tensorboard", "TensorBoard", "tensorboard")
        self._writer: Any = None

    def start(self, folder: Path, spec: dict[str, Any]) -> None:
        """Open the event file."""
        self._writer = self._tensorboard.SummaryWriter(log_dir=str(folder / "tensorboard"))
        self._writer.add_text("spec", f"```\n{json.dumps(spec, indent=2)}\n```")

    def log(self, step: Step) -> None:
        """Write loss and rate."""
        self._writer.add_scalar(f"{step.phase}/loss", step.loss, step.step)
        self._writer.add_scalar(f"{step.phase}/lr", step.lr, step.step)

    def finish(self, record: dict[str, Any]) -> None:
        """Write the results and close."""
        for name, value in _known(record).items():
            self._writer.add_scalar(name, value, record["cost"]["steps"])
        self._writer.close()


class Wandb(Tracker):
    """Logs to Weights & Biases; `WANDB_MODE=offline` keeps everything on this machine."""

    def __init__(self) -> None:
        self._wandb = _library("wandb", "Weights & Biases", "wandb")
        self._run: Any = None

    def start(self, folder: Path, spec: dict[str, Any]) -> None:
        """Start or continue the run named by the spec's hash."""
        self._run = self._wandb.init(
            project="fewtune",
            id=folder.name[-12:],
            name=folder.name,
            dir=str(folder),
            config=spec,
            resume="allow",
        )

    def log(self, step: Step) -> None:
        """Log loss and rate."""
        values = {"step": step.step, "loss": step.loss, "lr": step.lr}
        self._run.log({f"{step.phase}/{name}": value for name, value in values.items()})

    def finish(self, record: dict[str, Any]) -> None:
        """Log the results and close."""
        self._run.log(_known(record))
        self._run.finish()


def _known(record: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of a record by the name that they are logged under."""
    found = record["metrics"].items()
    return {f"test/{name}": value for name, value in found if value is not None}


def _library(module: str, title: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{title} is not installed.", hint=f'Try: pip install "fewtune[{extra}]"'
        ) from error


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": Wandb, "none": Tracker}


def make_tracker(name: str) -> Tracker:
    """Return a tracker by its command-line name.

    Raises:
        ConfigError: No such tracker, or its package is not installed.
    """
    if name not in TRACKERS:
        raise ConfigError(f"There is no tracker {name!r}.", hint=did_you_mean(name, TRACKERS))
    return TRACKERS[name]()
