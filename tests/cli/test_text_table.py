"""Tables of any width: names stay whole, columns go on below, sentences are wrapped."""

from __future__ import annotations

import pytest
from commands import Cli

from fewtune.cli.support.console import Console, day
from fewtune.cli.support.result_tables import label
from fewtune.cli.support.text_table import table_lines

HEADER = ["run", "top-1", "memory"]
ROWS = [["tip-adapter-f  steps x0.125", "70.1", "904 MiB"], ["gain", "+1.0", ""]]


def lines(width: int, header: list[str], rows: list[list[str]], text: tuple[int, ...]) -> list[str]:
    return [line for line, _ in table_lines(header, rows, text, width)]


def test_columns_are_aligned() -> None:
    assert lines(80, HEADER, ROWS, (0,)) == [
        "run                         top-1  memory",
        "tip-adapter-f  steps x0.125  70.1 904 MiB",
        "gain                         +1.0",
    ]


def test_what_does_not_fit_goes_on_below_and_empty_rows_are_left_out() -> None:
    assert lines(36, HEADER, ROWS, (0,)) == [
        "run                         top-1",
        "tip-adapter-f  steps x0.125  70.1",
        "gain                         +1.0",
        "",
        "run                          memory",
        "tip-adapter-f  steps x0.125 904 MiB",
    ]


def test_no_name_is_broken_however_narrow_the_screen() -> None:
    printed = "\n".join(lines(5, HEADER, ROWS, (0,)))
    assert printed.count("tip-adapter-f  steps x0.125") == 2
    assert "904 MiB" in printed


def test_sentences_are_wrapped_between_words() -> None:
    prompt = "a photo of a pomegranate-tree, a type of plant that grows"
    found = lines(50, ["class", "prompt"], [["pomegranate-tree", prompt]], (0, 1))
    assert max(map(len, found)) <= 50
    assert found[1].startswith("pomegranate-tree a photo of a pomegranate-tree,")


def test_wide_characters_take_two_columns() -> None:
    first, *_, last = lines(80, ["class", "n"], [["猫", "1"], ["cat", "2"]], (0,))
    assert first.index("n") == last.index("2") == 6
    assert lines(80, ["class", "n"], [["猫", "1"]], (0,))[1] == "猫    1"


def test_pipes_get_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(HEADER, ROWS)
    assert "\x1b" not in capsys.readouterr().out


def test_days_are_short_unless_of_another_year() -> None:
    assert day("2001-02-03T04:05:06+00:00") == "03 Feb 2001"


def test_shortened_steps_stand_in_the_row() -> None:
    record = {"plan": {"steps_scale": 0.125}, "spec": {"strategy": "coop", "recipe": {}}}
    assert label(record) == "coop  steps x0.125"
    closed = {"strategy": "gda", "recipe": {"length": 0}}
    assert label(record | {"spec": closed}) == "gda"


def test_list_of_runs_has_backbone_images_and_date(cli: Cli, baseline: object) -> None:
    header, row = cli("list runs").out.splitlines()
    assert header.split() == ["run", "backbone", "shots", "seed", "train+test", "top-1", "date"]
    assert row.split()[0].startswith("zero-shot-pets-")
    assert row.split()[1:5] == ["tiny", "all", "0", "12+9"]
