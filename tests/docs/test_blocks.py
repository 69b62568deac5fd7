"""Every bash and python block of the README and the docs runs, in order, as a reader would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import generate_docs
import markdown_blocks

ROOT = Path(__file__).parents[2]
# What a reader who has cloned the repository finds beside the page.
BESIDE = ("examples", "experiments", "pretraining", "train.py")
PAGE_BUDGET_S = 600


def run_blocks(page: Path) -> list[markdown_blocks.Block]:
    return [
        block
        for block in markdown_blocks.blocks(page.read_text(encoding="utf-8"))
        if block.language in ("bash", "python") and not block.not_run
    ]


PAGES = [page for page in generate_docs.pages() if run_blocks(page)]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a scratch folder that all blocks of a page share."""
    for name in BESIDE:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_installed_command_is_what_blocks_call() -> None:
    assert (Path(sys.executable).parent / "fewtune").is_file(), "pip install -e '.[dev]' first"


@pytest.mark.slow
@pytest.mark.timeout(PAGE_BUDGET_S)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_blocks_run(page: Path, clone: Path) -> None:
    # The interpreter's folder, unresolved: in a virtual environment the commands lie there.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Two pages run at once, and threads that outnumber the cores wait on each other.
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    commands = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    for block in run_blocks(page):
        done = subprocess.run(
            [*commands[block.language], block.code],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PAGE_BUDGET_S,
        )
        place = f"{page.relative_to(ROOT)}:{block.line}"
        assert done.returncode == 0, f"{place} exited {done.returncode}:\n{done.stdout[-4000:]}"
