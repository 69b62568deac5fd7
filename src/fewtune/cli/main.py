"""The command `fewtune`: finds its verbs in this folder and turns every error into one line.

A verb is a file here that defines `command`; the first line of its docstring is its line in
`fewtune --help`. Listing the verbs imports none of them.
"""

import ast
import importlib
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

import click

from fewtune.cli.support import console
from fewtune.cli.support.options import Group, instead_of
from fewtune.core.errors import FewTuneError, FewTuneWarning, names_flags

EXIT_UNEXPECTED = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError")


def verbs() -> dict[str, str]:
    """Return {name: first docstring line} of the verbs, importing none."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        text = file.read_text(encoding="utf-8")
        if re.search(r"^(def )?command\b", text, re.MULTILINE):
            docstring = ast.get_docstring(ast.parse(text)) or ""
            found[file.stem.replace("_", "-")] = docstring.partition("\n")[0]
    return found


class Verbs(Group):
    """A group whose commands are the verb files."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all verbs."""
        return list(verbs())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import one verb."""
        if name not in verbs():
            return None
        module = importlib.import_module(f"fewtune.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each verb."""
        with formatter.section("Commands"):
            formatter.write_dl(list(verbs().items()))


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `fewtune quickstart`, then `fewtune fit --data DIR`.",
)
@click.version_option(package_name="fewtune", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def fewtune(debug: bool) -> None:
    """Tune CLIP on a handful of labelled images, from a folder to a classifier."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; errors become one line on stderr.

    0 success, 1 unexpected error or errors in the data (`data verify`), 2 wrong usage or input,
    3 some images were skipped (`predict`), 130 interrupted. A reader of stdout that goes away, such
    as `head`, ends the program without a word (click exits with status 1).
    """
    before = names_flags.set(True)
    try:
        result = fewtune.main(list(arguments), prog_name="fewtune", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, click.Abort):
        console.complain("interrupted: type the same command to continue")
        return EXIT_INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            sys.stderr.write(console.printable("".join(traceback.format_exception(error))))
        line, status = explain(error, f"fewtune --debug {' '.join(arguments[:1])} ...")
        console.complain(f"error: {line}")
        return status
    finally:
        names_flags.reset(before)


def explain(error: Exception, again: str) -> tuple[str, int]:
    """Return the line and the exit status for an error.

    Args:
        error: What was raised.
        again: The command that shows its traceback.
    """
    if isinstance(error, FewTuneError):
        return str(error), EXIT_ERROR
    if isinstance(error, click.ClickException):
        return _usage(error), EXIT_ERROR
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}. What was written before is intact.", EXIT_ERROR
    name = type(error).__name__
    if name in OUT_OF_MEMORY:
        return "Out of memory. Try a smaller --batch-size or --device cpu.", EXIT_ERROR
    return f"unexpected {name}: {error}. To see where, type: {again}", EXIT_UNEXPECTED


def _usage(error: click.ClickException) -> str:
    path = getattr(getattr(error, "ctx", None), "command_path", "fewtune")
    if isinstance(error, click.NoSuchOption):
        hint, see = instead_of(error.option_name, error.ctx), f"See `{path} --help`."
        return " ".join(filter(None, (f"There is no option {error.option_name}.", hint, see)))
    return f"{error.format_message()} See `{path} --help`."


def main() -> None:
    """Be the command `fewtune`."""
    console.tolerate_streams()
    # What stops a job by SIGTERM (timeout, docker stop, a batch system) stops it as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "--debug" not in sys.argv and not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", FewTuneWarning)
        warnings.showwarning = lambda message, *_: console.complain(f"warning: {message}")
    sys.exit(run(sys.argv[1:]))
