"""How often a run speaks, and how its bar ends."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import pytest

from fewtune.cli.support import progress
from fewtune.cli.support.console import Console
from fewtune.training.tracking import Estimate, Step


def step(done: int, total: int = 100) -> Step:
    return Step("tune", done, total, 1.25, 1e-3, 65.0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def spoken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], step_s: float, total: int
) -> list[str]:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    lines = progress.Lines(Console())
    lines.start(Path("runs/a"), {"strategy": "clip-lora"})
    capsys.readouterr()
    for done in range(1, total + 1):
        clock.now += step_s
        lines.log(step(done, total))
    return capsys.readouterr().out.splitlines()


def test_a_short_run_has_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spoken(monkeypatch, capsys, 0.05, 100) == [
        "clip-lora: step 100/100, loss 1.2500, rate 1.00e-03, 1m05s left"
    ]


def test_a_long_run_has_a_line_a_tenth(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(spoken(monkeypatch, capsys, 1.5, 200)) in (9, 10)


def test_a_very_long_run_has_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(spoken(monkeypatch, capsys, 10, 600)) in (99, 100)


def test_the_bar_shows_loss_rate_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", screen)
    with closing(progress.make_terminal(Console())) as terminal:
        assert isinstance(terminal, progress.Bar)
        terminal.start(Path("runs/a"), {"strategy": "clipfit"})
        terminal.estimate(Estimate(100, 65.0, 1900.0))
        terminal.log(step(41))
        terminal.status("encoding")
    shown = screen.getvalue()
    assert "estimate: 100 steps, about 1m05s, 1.9 GiB" in shown
    assert "continuing after step 40 of 100" in shown
    assert "loss 1.2500" in shown
    assert "1m05s left" in shown


def test_no_bar_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(progress.make_terminal(Console()), progress.Lines)
    assert isinstance(progress.make_terminal(Console(quiet=True)), progress.Lines)
