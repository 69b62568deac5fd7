"""Every error a user can cause, in one tree.

    FewTuneError
    ├── ConfigError    a flag, a name or a combination of settings is wrong
    ├── DataError      images, labels or classes are wrong
    ├── AdapterError   a backbone or adapter file is missing, foreign or does not fit
    └── RunError       a run could not start, continue or finish

A message says what is wrong, what was found, and what to type next. The command line prints it on
one line and exits with status 2; `--debug` shows the traceback.
"""

import difflib
from collections.abc import Iterable
from contextvars import ContextVar

LISTED = 20
# Set while a command line runs: its errors name flags, those of the Python functions keywords.
names_flags: ContextVar[bool] = ContextVar("names_flags", default=False)


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


class FewTuneWarning(UserWarning):
    """What FewTune goes on in spite of; the command line shows it."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for the closest option, else up to 20 of the options."""
    names = sorted(options)
    if near := nearest(name, names):
        return near
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"Known: {', '.join(names[:LISTED])}{more}." if names else ""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for the closest option, "" if none is close.

    Comparison ignores case and the dashes of a flag, and treats "_" as "-".
    """
    folded = {_fold(option): option for option in options}
    close = difflib.get_close_matches(_fold(name), folded, n=1, cutoff=0.6)
    return f"Did you mean '{folded[close[0]]}'?" if close else ""


def _fold(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")
