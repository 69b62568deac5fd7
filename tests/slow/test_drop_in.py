"""One file dropped into the strategies folder is a strategy everywhere, nothing else edited."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fewtune.testing import tiny_clip_folder

ROOT = Path(__file__).parents[2]
STRATEGY = '''"""Bias Only: every bias of the image encoder is trained.

Ben Zaken et al., "BitFit", ACL 2022, section 3, on CLIP's image tower.
"""

from __future__ import annotations

from pydantic import Field

from fewtune.model.head import Head
from fewtune.model.dual_encoder import DualEncoder
from fewtune.core.spec import Recipe
from fewtune.model.strategy import Strategy
from fewtune.core.task import ClassSet


class BiasOnly(Strategy):
    """Existing biases are trained; no parameter is added."""

    title = "Bias Only"
    paper = "benzaken2022bitfit"
    recipe = Recipe(batch_size=32, lr=1e-3, length=50)

    layers: str = Field("*mlp*", description="a glob that nobody else uses")

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Unfreeze the biases."""
        model.unfreeze(f"{model.image.prefix}.{self.layers}.bias")
        return Head(model, classes, self.classifier)
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a copy of the source tree with one more file."""
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "fewtune" / "strategies" / "bias_only.py").write_text(STRATEGY)
    return source


def run(package: Path, *arguments: str, cwd: Path = ROOT) -> str:
    environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_dropped_file_is_a_strategy_everywhere(package: Path, tmp_path: Path) -> None:
    assert "bias-only" in run(package, "-m", "fewtune", "list", "strategies")
    assert "bias-only" in run(package, "-m", "fewtune", "fit", "--help")
    own_help = run(package, "-m", "fewtune", "fit", "bias-only", "--help")
    assert "glob that nobody else uses" in " ".join(own_help.split())
    assert "`bias-only`" in run(package, "scripts/generate_docs.py", "strategies")
    assert "`--layers`" in run(package, "scripts/generate_docs.py", "options")
    run(package, "-m", "fewtune", "data", "sample", str(tmp_path / "clothes"))
    backbone = tiny_clip_folder(tmp_path / "backbone")
    fitted = run(
        package, "-m", "fewtune", "fit", "bias-only", "--data", "clothes", "--backbone",
        str(backbone), "--shots", "2", "--steps-scale", "0.1", cwd=tmp_path,
    )  # fmt: skip
    assert "bias-only" in fitted
    contract = run(package, "-m", "pytest", "-n0", "tests/contract", "-k", "bias-only")
    assert "passed" in contract
    assert "failed" not in contract
