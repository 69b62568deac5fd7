"""What a run shows while it works: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.cli.support.console import Console, duration, memory
from fewtune.core.naming import counted
from fewtune.training.tracking import Estimate, Forecast, Step, Tracker

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_INTERVAL_S = 10.0
LINE_SHARE = 0.1
SILENCE_S = 60.0
LONG_S = 600.0
BUSY = 0.5  # other work per core, from which on it counts


class Terminal(Tracker):
    """Says what begins, what it will cost and how far it is; to be closed, as it draws bars."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.strategy = ""

    def close(self) -> None:
        """Remove what moves on the screen."""

    def forecast(self, probe: Callable[[], Forecast]) -> None:
        """Say what the whole run is going to take; if that is long, what takes minutes."""
        if self.console.quiet:
            return
        found = probe()
        self.console.note(
            f"about {duration(found.seconds)} in all on this machine: {found.image_s:.2g} s to "
            f"encode an image ({found.device}, {found.precision})"
        )
        if found.load > BUSY:
            self.console.note(
                f"  The machine is busy: {found.load:.1f} processes wait for each core. Alone, the "
                "run takes less."
            )
        if found.seconds > LONG_S and found.shorter:
            self.console.note("  These take less:")
            for command, seconds in found.shorter:
                self.console.note(f"    {command}  (about {duration(seconds)})")

    def start(self, folder: Path, spec: dict[str, Any]) -> None:
        """Name the run."""
        self.strategy = spec["strategy"]
        self.console.note(f"{self.strategy}: {folder}")

    def status(self, text: str) -> None:
        """Say what begins."""
        self.close()
        self.console.note(f"{text} ...")

    def estimate(self, estimate: Estimate) -> None:
        """Say what training is going to cost."""
        self.console.note(
            f"estimate: {counted(estimate.steps, 'step')}, about {duration(estimate.seconds)}, "
            f"{memory(estimate.memory_mib)}"
        )

    def _resumed(self, step: Step) -> None:
        if step.step > 1:
            self.console.note(f"continuing after step {step.step - 1:,} of {step.total:,}")


class Lines(Terminal):
    """Plain lines: one a tenth of the way but not within 10 s of the last, one a minute at least.

    The last step always has its line.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._phase = ""
        self._share = 0.0
        self._at_s = 0.0

    def log(self, step: Step) -> None:
        """Print a line if it is time."""
        now = time.monotonic()
        if step.phase != self._phase:
            self._phase, self._share, self._at_s = step.phase, 0.0, now
            self._resumed(step)
        share, waited = step.step / step.total, now - self._at_s
        moved = share - self._share >= LINE_SHARE
        due = (moved and waited >= LINE_INTERVAL_S) or waited >= SILENCE_S
        if not due and step.step != step.total:
            return
        self._share, self._at_s = share, now
        self.console.note(
            f"{self.strategy}: step {step.step:,}/{step.total:,}, loss {step.loss:.4f}, "
            f"rate {step.lr:.2e}, {duration(step.left_s)} left"
        )


class Bar(Terminal):
    """A progress bar with loss, learning rate and time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._phase = ""

    def log(self, step: Step) -> None:
        """Move the bar."""
        fields: dict[str, Any] = {
            "loss": f"{step.loss:.4f}",
            "rate": f"{step.lr:.2e}",
            "left": duration(step.left_s),
        }
        if self._bar is None or self._task is None or step.phase != self._phase:
            self.close()
            self._phase = step.phase
            self._resumed(step)
            self._bar = self.console.progress(
                "loss {task.fields[loss]}", "rate {task.fields[rate]}", "{task.fields[left]} left"
            )
            self._bar.start()
            self._task = self._bar.add_task(self.strategy, total=step.total, **fields)
        self._bar.update(self._task, completed=step.step, **fields)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def make_terminal(console: Console) -> Terminal:
    """Return the bar where one can be drawn, else the lines."""
    return Bar(console) if console.live else Lines(console)
