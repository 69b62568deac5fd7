"""The strategy of CONTRIBUTING.md, pasted into a copy of the repository, passes everything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import markdown_blocks
from fewtune.testing import tiny_clip_folder

ROOT = Path(__file__).parents[2]
STRATEGY = "src/fewtune/strategies/bit_fit.py"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a copy of the repository with one more file."""
    copy = tmp_path / "repository"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (example,) = [b.code for b in markdown_blocks.blocks(text) if b.language == "python"]
    (copy / STRATEGY).write_text(example, encoding="utf-8")
    return copy


def run(repository: Path, *arguments: str, cwd: Path | None = None, fails: bool = False) -> str:
    environment = os.environ | {"PYTHONPATH": str(repository / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd or repository,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def run_tests(repository: Path, *arguments: str, fails: bool = False) -> str:
    return run(repository, "-m", "pytest", "-n0", "-p", "no:cacheprovider", *arguments, fails=fails)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_one_command_the_pasted_strategy_passes_every_test(repository: Path) -> None:
    told = run_tests(repository, "tests/contract/test_values.py", fails=True)
    assert "new strategy bit-fit: run `python tests/pin.py`" in told
    assert "1 failed" in told
    run(repository, "tests/pin.py")
    assert "[bit-fit]" in (repository / "tests" / "values.toml").read_text(encoding="utf-8")
    assert "`bit-fit`" in (repository / "README.md").read_text(encoding="utf-8")
    assert (repository / "docs" / "diagrams" / "bit-fit.svg").is_file()
    passed = run_tests(
        repository, "-k", "bit-fit or bit_fit or pinned or test_pages or citations or docstrings",
        "tests/contract", "tests/docs", "tests/unit",
    )  # fmt: skip
    assert "failed" not in passed
    run(repository, "-m", "ruff", "check", "--no-cache", STRATEGY)
    run(repository, "-m", "ruff", "format", "--no-cache", "--check", STRATEGY)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_pasted_strategy_is_everywhere(repository: Path, tmp_path: Path) -> None:
    assert "bit-fit" in run(repository, "-m", "fewtune", "list", "strategies")
    assert "bit-fit" in run(repository, "-m", "fewtune", "fit", "--help")
    own_help = run(repository, "-m", "fewtune", "fit", "bit-fit", "--help")
    assert "Glob on parameter names" in " ".join(own_help.split())
    run(repository, "-m", "fewtune", "data", "sample", str(tmp_path / "clothes"))
    backbone = tiny_clip_folder(tmp_path / "backbone")
    fitted = run(
        repository, "-m", "fewtune", "fit", "bit-fit", "--data", "clothes", "--backbone",
        str(backbone), "--shots", "2", "--steps-scale", "0.1", cwd=tmp_path,
    )  # fmt: skip
    assert "bit-fit" in fitted
    (run_folder,) = (tmp_path / "runs").glob("bit-fit*")
    cited = run(repository, "-m", "fewtune", "cite", str(run_folder), cwd=tmp_path)
    assert "@inproceedings{benzaken2022bitfit" in cited
