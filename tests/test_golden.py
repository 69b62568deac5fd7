"""What an earlier FewTune made loads, continues and reports as it did then.

The files in tests/golden were made once (NOTES.md there says how) and are not made anew: a change
of a hash, a prediction or a table here is a change for everybody's old runs.
"""

from __future__ import annotations

import csv
import hashlib
import json
import lzma
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fewtune.cli.main import run

GOLDEN = Path(__file__).parent / "golden"
EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RUNS = sorted(path.name for path in (GOLDEN / "runs").iterdir())
ONE_EACH = {name.partition("-images-")[0]: name for name in RUNS}  # a run of each strategy
ENVIRONMENT = ("torch", "torchvision", "transformers", "numpy", "pillow", "machine", "processor")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


CASES = read(GOLDEN / "protocol_cases.json")
SMALL = {file: found for file, found in CASES["experiments"].items() if found["count"] < 200}
LISTED = CASES["protocols"] | SMALL
HASHES = read(GOLDEN / "hashes.json")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder that tests may add to."""
    target = tmp_path_factory.mktemp("golden") / "golden"
    return Path(shutil.copytree(GOLDEN, target))


@pytest.fixture(autouse=True)
def place(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test stands in the copy."""
    monkeypatch.chdir(copied)
    return copied


@pytest.fixture
def stdout(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line and return what it prints."""

    def call(*arguments: str) -> str:
        capsys.readouterr()
        status = run(arguments)
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return printed.out

    return call


@pytest.fixture
def answer(stdout: Callable[..., str]) -> Callable[..., Any]:
    """Run a command line with --json and return what it prints."""
    return lambda *arguments: json.loads(stdout(*arguments, "--json"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def flat(line: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in line.get("metrics", line).items() if k != "phase"}


def near(value: Any) -> Any:
    """Equal but for what another processor adds up in another order."""
    return pytest.approx(value, rel=1e-3, abs=1e-4)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def assert_same_rows(found: Path, stored: Path) -> None:
    """Tables are equal; their last column, a share, nearly."""
    for mine, theirs in zip(rows(found), rows(stored), strict=True):
        assert float(mine.popitem()[1]) == near(float(theirs.popitem()[1]))
        assert mine == theirs


def test_runs_are_read_with_their_baseline(place: Path, answer: Callable[..., Any]) -> None:
    zero_shot = read(place / "runs" / ONE_EACH["zero-shot"] / "record.json")
    for name in RUNS:
        record = read(place / "runs" / name / "record.json")
        expected = {"folder": f"runs/{name}", "record": record, "zero_shot": zero_shot}
        assert answer("evaluate", name) == expected


@pytest.mark.parametrize("strategy", ONE_EACH)
def test_a_run_scores_and_predicts_as_it_did(
    place: Path, answer: Callable[..., Any], strategy: str
) -> None:
    name = ONE_EACH[strategy]
    record = read(place / "runs" / name / "record.json")
    measured = answer("evaluate", f"runs/{name}", "--data", "images")["metrics"]
    assert measured[strategy] == near(record["metrics"])
    assert run(["predict", f"runs/{name}", "images/test", "-o", "found.csv"]) == 0
    assert_same_rows(place / "found.csv", place / "predicted" / f"{name}.csv")


def test_a_sweep_finds_its_runs_complete(place: Path, stdout: Callable[..., str]) -> None:
    before = contents(place / "runs")
    assert f"{len(RUNS)} runs, {len(RUNS)} complete" in stdout("sweep", "sweep.toml")
    assert contents(place / "runs") == before


def test_an_interrupted_run_continues(place: Path, answer: Callable[..., Any]) -> None:
    expected = read(place / "expected.json")
    folder = place / "interrupted" / expected["folder"]
    first = (folder / "metrics.jsonl").read_text().splitlines()
    assert answer(*expected["arguments"])["folder"] == f"interrupted/{expected['folder']}"
    log = (folder / "metrics.jsonl").read_text().splitlines()
    assert log[: len(first)] == first  # nothing was repeated
    for line, stored in zip(log, expected["log"], strict=True):
        assert flat(json.loads(line)) == near(flat(stored))
    (place / "stored.csv").write_text("\n".join(expected["predictions"]) + "\n")
    named = rows(folder / "predictions.csv")
    classes = read(folder / "record.json")["task"]["classes"]
    for row in named:  # these columns were added since
        assert row.pop("class") == classes[int(row["label"])]
        assert row.pop("predicted_class") == classes[int(row["prediction"])]
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, named[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(named)
    assert_same_rows(folder / "predictions.csv", place / "stored.csv")
    made_on, here = expected["environment"], read(folder / "record.json")["environment"]
    here["capability"] = torch.backends.cpu.get_cpu_capability()
    if all(made_on[name] == here[name] for name in (*ENVIRONMENT, "capability")):
        for file, digest in expected["sha256"].items():
            assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest, file


# A sentence that was added since, on a line of its own or among others.
ADDED = re.compile(r"^95 % interval of a top-1: .*\n| 95 % interval of a top-1: .*?\)\.", re.M)
# Words of a page that were changed since, and nothing else.
RENAMED = {"tables stand beside this page": "tables are next to this page"}


def words(page: str) -> str:
    """What is left of a page without figures and markup, a line a text."""
    page = re.sub(r"<(svg|style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    lines = (line.strip() for line in re.sub(r"<[^>]*>", "\n", page).splitlines())
    return "".join(f"{line}\n" for line in lines if line)


@pytest.mark.parametrize(("source", "stored"), [("runs", "runs"), ("packed.tar.xz", "packed")])
def test_a_report_says_what_it_said(place: Path, source: str, stored: str) -> None:
    out = place / f"made-{stored}"
    assert run(["report", source, "-o", str(out), "--records", "again.tar.xz"]) == 0
    # What packed records do not hold is missing from their report; the other tables are the same.
    tables = contents(place / "report" / "runs") | contents(place / "report" / stored)
    if stored == "packed":
        tables = {name: text for name, text in tables.items() if "confusions" not in name}
    page = tables.pop("page.txt").decode()
    for before, now in RENAMED.items():
        page = page.replace(before, now)
    assert ADDED.sub("", words((out / "index.html").read_text())) == page
    made = {
        n: ADDED.sub("", text.decode()).encode() if n.endswith((".md", ".tex")) else text
        for n, text in contents(out).items()
    }
    assert {n for n in made if n.endswith((".md", ".csv", ".tex"))} == tables.keys()
    assert {name: made[name] for name in tables} == tables
    packed = [lzma.decompress((place / f).read_bytes()) for f in ("again.tar.xz", "packed.tar.xz")]
    assert packed[0] == packed[1]


def listed(text: str) -> list[str]:  # what `sweep --dry-run` prints
    return re.findall(r"^(?:open|done|no data) .* runs/(\S+)$", text, re.MULTILINE)


def test_cells_of_a_sweep_keep_their_folders(stdout: Callable[..., str]) -> None:
    found = listed(stdout("sweep", "hashes.toml", "--dry-run"))
    assert sorted(found) == sorted({entry["folder"] for entry in HASHES})


@pytest.mark.parametrize("entry", HASHES, ids=lambda entry: " ".join(entry["arguments"][:-6]))
def test_command_lines_keep_their_folders(
    place: Path, answer: Callable[..., Any], entry: Any
) -> None:
    for one in (entry, entry["zero_shot"]):  # nothing is trained where the names are the same
        folder = place / "made" / one["folder"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.json").write_text(json.dumps({"format": 1, **one["spec"]}))
        (folder / "record.json").write_text(json.dumps({"hash": one["folder"][-12:]}))
    found = answer("fit", *entry["arguments"], "--runs", "made", "--quiet")
    assert found["fresh"] is False
    assert found["folder"] == f"made/{entry['folder']}"
    assert found["record"] == {"hash": entry["hash"]}


@pytest.mark.parametrize("name", LISTED)
def test_protocols_and_experiments_keep_their_cases(stdout: Callable[..., str], name: str) -> None:
    """Without their data, cases are listed by their keys."""
    expected = LISTED[name]
    command = expected.get("arguments", ["sweep", str(EXPERIMENTS / name)])
    keys = sorted(f[-12:] for f in listed(stdout(*command, "--root", "nowhere", "--dry-run")))
    assert len(keys) == expected["count"]
    assert {key for key, _ in expected.get("cases", [])} <= set(keys)
    assert hashlib.sha256("\n".join(keys).encode()).hexdigest() == expected["sha256"]
