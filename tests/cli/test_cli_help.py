"""What can be read without torch, and how errors of usage look."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from commands import Cli

from fewtune.cli import main
from fewtune.cli.support import console
from fewtune.core.discovery import plugins
from fewtune.core.errors import DataError

HEAVY = ("torch", "torchvision", "transformers", "numpy", "pydantic", "rich", "PIL")


def modules_after(arguments: Sequence[str]) -> set[str]:
    code = (
        "import sys\nfrom fewtune.cli.main import run\n"
        f"status = run({list(arguments)!r})\n"
        "print(*sorted(sys.modules), file=sys.stderr)\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"], ["fit", "--help"]])
def test_imports_nothing_heavy(arguments: list[str]) -> None:
    # The flags of `fit` are fields of a model, which pydantic holds; nothing else needs it.
    needed = {"pydantic"} if arguments[0] == "fit" else set()
    assert modules_after(arguments) & set(HEAVY) == needed


@pytest.mark.parametrize(
    "line",
    [
        "fti",
        "fit --bogus",
        "fit vpt-deep --rank 3",
        "fit --rank 0",
        "fit clip-lroa --data x",
        "fit --data nowhere --device gpu",
        "fit --data nowhere/at/all",
        "fit --data fashion --draw published --shots 1",
        "fit --data fashion --backbone ./nowhere",
        "fit coop --type vision --data fashion",
        "predict nowhere cli/commands.py",
        "predict RUN nowhere.jpg",
        "evaluate nowhere --data fashion",
        "export nowhere --to hf -o x",
        "report nowhere",
        "sweep few-shot --shots x",
        "sweep own --strategies clp-lora --data x",
        "sweep own --data nowhere/at/all",
    ],
)
def test_errors_of_usage_come_before_torch(line: str, place: Path) -> None:
    code = (
        "import sys\nfrom fewtune.cli.main import run\n"
        f"status = run({line.split()!r})\nassert status == 2, status\n"
        "loaded = {'torch', 'transformers', 'torchvision'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


@pytest.mark.parametrize("verb", ["", "data", "cache"])
def test_a_bare_group_prints_its_help(cli: Cli, verb: str) -> None:
    outcome = cli(verb)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == cli(f"{verb} --help").out
    assert outcome.out.splitlines()[0].endswith("[OPTIONS] COMMAND [ARGS]...")


def test_help_names_every_verb(cli: Cli) -> None:
    outcome = cli("--help")
    assert outcome.status == 0
    for name, line in main.verbs().items():
        assert name in outcome.out
        assert line[:30] in outcome.out
    assert {"data", "evaluate", "export", "fit", "list", "predict"} <= set(main.verbs())


@pytest.mark.parametrize("verb", [*main.verbs(), "data verify", "data info", "fit zero-shot"])
def test_every_verb_has_help_in_80_columns(
    cli: Cli, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = cli(f"{verb} --help")
    assert outcome.status == 0
    assert outcome.out.startswith("Usage: fewtune")
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"fewtune {version('fewtune')}\n"


def test_list_names_strategies_backbones_data_and_trackers(cli: Cli) -> None:
    out = cli("list").out
    for name in (
        *plugins("strategies"),
        *plugins("protocols"),
        "ViT-B16",
        "picto",
        "fashion",
        "wandb",
    ):
        assert name in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fti", "There is no command 'fti'. Did you mean 'fit'?"),
        ("data verfy x", "There is no command 'data verfy'. Did you mean 'verify'?"),
        ("list strategy", "There is no list 'strategy'. Did you mean 'strategies'?"),
        ("list data DIR", "'DIR' is one argument too many."),
        ("sweep few-sot", "There is no protocol and no file 'few-sot'. Did you mean 'few-shot'?"),
        ("sweep few-shot --shot 1", "There is no option --shot. Did you mean '--shots'?"),
        ("sweep few-shot --shots 0", "shots.0: input should be greater than 0; found '0'."),
        ("sweep own", "own needs data. Add --data"),
        ("fit clip-lroa", "There is no strategy 'clip-lroa'. Did you mean 'clip-lora'?"),
        ("fit --rnk 3", "There is no option --rnk. Did you mean '--rank'?"),
        ("fit --bogus 3", "There is no option --bogus. See `fewtune fit --help`."),
        ("fit --device", "requires an argument"),
        ("export", "Missing argument 'RUN'"),
        ("list backbones ViT-B61", "Did you mean 'ViT-B16'?"),
        ("list runs", "There is no folder 'runs' here."),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(cli: Cli, line: str, message: str) -> None:
    outcome = cli(line)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def raising(error: BaseException) -> click.Command:
    def callback() -> None:
        raise error

    return click.Command("list", callback=callback)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("Bad.", hint="Mend it."), 2, "error: Bad. Mend it."),
        (OSError(28, "No space left on device", "a"), 2, "error: No space left on device: a."),
        (MemoryError(), 2, "error: Out of memory. Try a smaller --batch-size"),
        (ValueError("a\nb"), 1, "error: unexpected ValueError: a b. To see where, type: fewtune"),
        (KeyboardInterrupt(), 130, "interrupted: type the same command to continue"),
    ],
)
def test_every_exception_is_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, line: str
) -> None:
    monkeypatch.setattr("fewtune.cli.list.command", raising(error))
    outcome = cli("list")
    assert outcome.status == status
    assert outcome.err.strip().startswith(line)
    assert "Traceback" not in outcome.err


def test_debug_shows_the_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewtune.cli.list.command", raising(DataError("Bad.")))
    outcome = cli("--debug list")
    assert outcome.status == 2
    assert "Traceback" in outcome.err
    assert outcome.err.endswith("error: Bad.\n")


def test_the_reader_of_a_pipe_may_leave(images: Path) -> None:
    command = [sys.executable, "-m", "fewtune", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_terminal_without_utf8_gets_escapes(place: Path) -> None:
    (place / "ima­ges").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "fewtune", "list", "ünknown"],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 2
    assert b"\\xfcnknown" in done.stderr


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59.6, "1m00s"), (92, "1m32s"), (3720, "1h02m")]
)
def test_durations(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text
