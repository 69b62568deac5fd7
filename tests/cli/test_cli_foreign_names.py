"""Names of strangers' folders and files reach no terminal as commands, and no sheet as formulas."""

from __future__ import annotations

import csv
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import CLASSES, Cli, short

from fewtune.cli.main import run
from fewtune.cli.support.console import OBEYED, printable
from fewtune.core.files import read_json, write_json
from fixtures import write_image

BELL, CLEAR, BACKWARDS = "\a", "\x1b[2J\x1b]0;owned\x07", "\u202egpj.exe"
FORMULA = "=cmd|' -C calc'!A0"


@pytest.fixture
def hostile(images: Path, place: Path) -> Path:
    """The images, in a folder and with classes and files whose names are made to harm."""
    root = place / f"pets{CLEAR}"
    names = dict(zip(CLASSES, (f"bird{CLEAR}", FORMULA, f"dog{BACKWARDS}"), strict=True))
    for path in images.rglob("*.png"):
        split, kind, name = path.relative_to(images).parts
        target = root / split / names[kind] / f"{BELL}@{name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return root


def test_escape_sequences_in_names_are_shown_as_text(
    cli: Cli, hostile: Path, backbone: Path, place: Path
) -> None:
    flags = short(hostile, backbone)
    (place / "torn\x1b[5m.png").write_bytes(b"no image")
    run_folder = "."
    for words in (
        ["data", "verify", str(hostile)],
        ["fit", "clip-lora", *flags],
        ["list", "runs"],
        ["evaluate", "RUN", "--data", str(hostile), "--backbone", str(backbone)],
        ["predict", "RUN", str(hostile / "test"), "torn\x1b[5m.png"],
        ["predict", "RUN", "missing\x1b[5m.png"],
        ["fit", f"clip{CLEAR}"],
        ["fit", f"--{CLEAR}"],
        [f"nothing{CLEAR}"],
        ["report", "runs", "-o", "out"],
        ["sweep", f"none{CLEAR}.toml"],
        ["--debug", "predict", "RUN", "missing\x1b[5m.png"],
    ):
        run_folder = next((str(p) for p in place.glob("runs/clip-lora-*")), run_folder)
        found = cli(words[0], *(run_folder if word == "RUN" else word for word in words[1:]))
        shown = found.out + found.err
        if words[0] == "predict" and found.out:  # what is piped holds the names as they are
            shown = found.err
        assert not OBEYED.search(shown), (words, OBEYED.findall(shown))
    assert "\\x1b[2J" in cli("data", "verify", str(hostile)).out


def test_tables_hold_no_formulas(cli: Cli, hostile: Path, backbone: Path, place: Path) -> None:
    assert cli("fit", "clip-lora", *short(hostile, backbone)).status == 0
    folder = next(place.glob("runs/clip-lora-*"))
    assert cli("predict", folder, hostile / "test", "-o", "out.csv", "--top", "3").status == 0
    assert cli("report", "runs", "-o", "out").status == 0
    tables = [place / "out.csv", folder / "predictions.csv", *(place / "out").glob("*.csv")]
    for path in tables:
        with path.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if re.match(r"[=@\t\r]|[+-]\D", cell)], path
    assert f"'{FORMULA}" in (place / "out.csv").read_text()


def test_a_record_that_is_made_to_harm_is_shown_as_text(cli: Cli, tuned: Path, place: Path) -> None:
    folder = Path(shutil.copytree(tuned, place / "runs" / tuned.name))
    spec = read_json(folder / "spec.json")
    write_json(folder / "spec.json", {**spec, "task": CLEAR, "backbone": f"{BACKWARDS}[red]"})
    found = cli("list", "runs")
    assert found.status == 0
    assert not OBEYED.search(found.out + found.err)
    (folder / "spec.json").write_text('{"format": 1, "strategy": "\\u001b[2J"}')
    for words in (["list", "runs"], ["evaluate", str(folder)], ["report", "runs", "-o", "o"]):
        found = cli(words[0], *words[1:])
        assert not OBEYED.search(found.out + found.err)


def test_what_is_printable_stays() -> None:
    text = "Größe 猫\ttab\n☂ naïve → 12 %"
    assert printable(text) == text
    assert printable("\x9b2J\r\x7f\u2066") == "\\x9b2J\\r\\x7f\\u2066"


SLOW = """
import sys, time
from pathlib import Path
from fewtune.cli import main
from fewtune.core.files import write_folder

def fill(folder):
    (folder / "half").touch()
    print("filling", flush=True)
    time.sleep(60)

main.run = lambda _: write_folder(Path("out"), fill)
main.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_stops_a_job_tidies_as_ctrl_c_does(place: Path, number: int) -> None:
    command = [sys.executable, "-c", SLOW]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, restore_signals=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"filling\n"
        began = time.monotonic()
        process.send_signal(number)
        process.wait(30)
    assert time.monotonic() - began < 30
    assert not list(place.iterdir())


def test_an_image_with_a_hostile_name_is_skipped_by_name(
    cli: Cli, tuned: Path, place: Path
) -> None:
    write_image(place / "good.png")
    (place / "bad\x1b[2J.png").touch()
    assert run(["predict", str(tuned), "good.png", "-o", "a.csv"]) == 0
    found = cli("predict", tuned, str(place))
    assert found.status == 3
    assert "bad\\x1b[2J.png" in found.err
