"""A new field of a run is one line: it is then a flag, a key, an axis, recorded, and documented."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import short

ROOT = Path(__file__).parents[2]
LINE = '    mood: int = Field(7, ge=0, le=9, description="how the weather was")\n'
BEFORE = "    steps_scale: float = Field("


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package in which one line was added to the description of a run."""
    copied = tmp_path_factory.mktemp("one-line")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("src", "scripts"):
        shutil.copytree(ROOT / name, copied / name, ignore=ignored)
    file = copied / "src" / "fewtune" / "core" / "run_config.py"
    text = file.read_text(encoding="utf-8")
    assert text.count(BEFORE) == 1
    file.write_text(text.replace(BEFORE, LINE + BEFORE), encoding="utf-8")
    return copied


def call(copied: Path, *arguments: object, script: str = "-m") -> str:
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": f"{copied / 'src'}:{copied / 'scripts'}"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_docs_toml_axis_and_record_have_it(
    copy: Path, images: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = " ".join(call(copy, "-m", "fewtune", "fit", "--help").split())
    assert "--mood INTEGER How the weather was. [7; from 0 to 9]" in text
    table = call(copy, "-c", "import generate_docs; print(generate_docs.generate('run-config'))")
    assert re.search(r"\| `--mood` \| 7 \| how the weather was", table)

    fit = ("-m", "fewtune", "fit", "linear-probe", *short(images, backbone), "--runs", "runs")
    Path("run.toml").write_text("mood = 3\n", encoding="utf-8")
    call(copy, *fit, "--config", "run.toml")
    records = [json.loads(p.read_text()) for p in Path("runs").glob("linear-probe-*/record.json")]
    assert [record["spec"]["mood"] for record in records] == [3]

    Path("sweep.toml").write_text(
        f'strategy = "linear-probe"\ndata = "{images}"\nbackbone = "{backbone}"\nmood = [3, 4]\n'
        'shots = 1\nprecision = "fp32"\nthreads = 1\nlength = 2\nlength-unit = "steps"\n',
        encoding="utf-8",
    )
    out = call(copy, "-m", "fewtune", "sweep", "sweep.toml", "--dry-run")
    assert "2 runs, 1 complete" in out
