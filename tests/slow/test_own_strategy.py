"""The example of a strategy in a package of its own: installed, found by name, tested."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path, path: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_example_package_installs_and_keeps_the_contract(tmp_path: Path) -> None:
    package, site = tmp_path / "my_strategy", tmp_path / "site"
    shutil.copytree(ROOT / "examples" / "my_strategy", package)
    source = str(ROOT / "src")
    run(
        "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "--quiet",
        "--target", str(site), str(package), cwd=tmp_path, path=source,
    )  # fmt: skip
    path = os.pathsep.join([source, str(site)])
    assert "scale-and-shift" in run("-m", "fewtune", "list", "strategies", cwd=tmp_path, path=path)
    assert "2 passed" in run("-m", "pytest", "-p", "no:cacheprovider", cwd=package, path=path)
