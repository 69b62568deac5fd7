"""Every error a user can cause, in one tree.

    FewTuneError
    ├── ConfigError    a flag, a name or a combination of settings is wrong
    ├── DataError      images, labels or classes are wrong
    ├── AdapterError   a backbone or adapter file is missing, foreign or does not fit
    └── RunError       a run could not start, continue or finish

A message says what is wrong, what was found, and what to type next. The command line prints it on
one line and exits with status 2; `--debug` shows the traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED = 20


class FewTuneError(Exception):
    """Root of all errors that FewTune raises on purpose."""

    def __init__(self, what: str, *, hint: str = "") -> None:
        self.what = what
        self.hint = hint
        super().__init__(f"{what} {hint}".strip())


class ConfigError(FewTuneError):
    """A flag, a name or a combination of settings is wrong."""


class DataError(FewTuneError):
    """Images, labels or classes are wrong."""


class AdapterError(FewTuneError):
    """A backbone or adapter file is missing, foreign or does not fit."""


class RunError(FewTuneError):
    """A run could not start, continue or finish."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for the closest option, else up to 20 of the options.

    Comparison ignores case and treats "_" as "-".
    """
    names = sorted(options)
    folded = {option.lower().replace("_", "-"): option for option in names}
    close = difflib.get_close_matches(name.lower().replace("_", "-"), folded, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{folded[close[0]]}'?"
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"Known: {', '.join(names[:LISTED])}{more}."
