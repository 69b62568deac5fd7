"""The only place that prints: words for people, JSON for programs, errors on stderr.

A verb makes one `Console`. With `--json`, stdout holds one JSON object and nothing else, and what
people read goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fewtune.cli.support.text_table import table_lines

if TYPE_CHECKING:
    import rich.console
    from rich.progress import Progress


# Control characters but line end and tab, and marks that turn the direction of writing.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class Console:
    """What a verb says.

    Args:
        machine: Keep stdout for one JSON object.
        quiet: Leave out progress and remarks; results, warnings and errors stay.
    """

    def __init__(self, *, machine: bool = False, quiet: bool = False) -> None:
        self.machine = machine
        self.quiet = quiet

    @property
    def live(self) -> bool:
        """Whether a progress bar may be drawn."""
        stream = sys.stderr if self.machine else sys.stdout
        return stream.isatty() and not self.quiet and os.environ.get("TERM") != "dumb"

    def line(self, text: str = "") -> None:
        """Print one line, however long."""
        print(printable(text), file=sys.stderr if self.machine else sys.stdout, flush=True)

    def note(self, text: str) -> None:
        """Print one line that `--quiet` leaves out."""
        if not self.quiet:
            self.line(text)

    def warn(self, text: str) -> None:
        """Print a warning on stderr."""
        self.rich(stderr=True).print(f"[yellow]warning:[/] {rich_text(text)}", soft_wrap=True)

    def json(self, value: Any) -> None:
        """Print one JSON value on stdout, in ASCII, so that no terminal can spoil it."""
        print(json.dumps(value, indent=2, sort_keys=True), flush=True)

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        left: Sequence[int] = (0,),
        parts: Sequence[int] = (),
    ) -> None:
        """Print a table without rules; the columns in `left` hold text, the others numbers.

        Args:
            parts: As of `table_lines`.
        """
        out = sys.stderr if self.machine else sys.stdout
        bold = out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        shown = [[printable(cell) for cell in row] for row in rows]
        for line, is_header in table_lines(header, shown, left, self.width, parts):
            print(f"\x1b[1m{line}\x1b[0m" if bold and is_header else line, file=out, flush=True)

    @property
    def width(self) -> int:
        """Characters in a line of the terminal; 80 where there is none."""
        return shutil.get_terminal_size().columns

    def progress(self, *columns: str, transient: bool = True) -> Progress:
        """Return a bar with further columns, each a format of the task's fields; not started."""
        from rich import progress as bars

        parts: list[bars.ProgressColumn] = [
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=None),
            bars.MofNCompleteColumn(),
            *(bars.TextColumn(column, markup=False) for column in columns),
        ]
        return bars.Progress(*parts, console=self.rich(), transient=transient, expand=True)

    @contextlib.contextmanager
    def counting(self, text: str) -> Iterator[Callable[[int, int], None] | None]:
        """Show how many of how many are done; yields None where no bar can be drawn."""
        if not self.live:
            yield None
            return
        with self.progress() as bar:
            task = bar.add_task(text, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def rich(self, *, stderr: bool = False) -> rich.console.Console:
        """Return a rich console for what people read; it respects NO_COLOR and COLUMNS."""
        from rich.console import Console as RichConsole

        return RichConsole(stderr=stderr or self.machine, highlight=False, emoji=False)


def complain(text: str) -> None:
    """Print one line on stderr, whatever the console's settings."""
    print(printable(" ".join(text.split())), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return text with escapes for what a terminal would obey: names come from strangers' files."""
    return OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


def tolerate_streams() -> None:
    """Print what a terminal's encoding lacks, or a file name that is no text, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def duration(seconds: float) -> str:
    """Return "5s", "1m32s" or "1h02m"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def ago(time_s: float) -> str:
    """Return how long ago a time was, in one unit: "5s ago", "3h ago", "12d ago"."""
    seconds = max(0.0, time.time() - time_s)
    units = ((86_400, "d"), (3600, "h"), (60, "m"))
    number, unit = next(((seconds / s, u) for s, u in units if seconds >= s), (seconds, "s"))
    return f"{number:.0f}{unit} ago"


def day(moment: str) -> str:
    """Return "28 Nov" of a time in ISO 8601; of another year, "28 Nov 2025"."""
    then = datetime.fromisoformat(moment).astimezone()
    return f"{then:%d %b}" if then.year == datetime.now().year else f"{then:%d %b %Y}"


def memory(mib: float) -> str:
    """Return "812 MiB" or "1.9 GiB"."""
    return f"{mib:.0f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"


def count(number: int) -> str:
    """Return "184,320" or "12.3M"."""
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:.1f}M"


def rich_text(text: str) -> str:
    """Return plain text as rich prints it: its brackets are no markup."""
    from rich.markup import escape

    return escape(printable(text))
