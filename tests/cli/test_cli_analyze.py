"""`analyze`: runs, a strategy and an ablation, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import Cli

from fewtune.core.discovery import strategy_names
from fewtune.core.toml import read_toml
from fewtune.sweeps.case_jobs import CaseJobs
from fewtune.sweeps.grid import Grid, expand, overridden
from fewtune.sweeps.sources import METADATA
from fixtures import split_folders

pytestmark = pytest.mark.usefixtures("empty_pdf")


@pytest.fixture
def own(tuned: Path, place: Path) -> Path:
    """A copy of the finished run, which a test may write into."""
    return Path(shutil.copytree(tuned, place / "runs" / tuned.name))


def test_a_run_is_analysed_with_its_images_and_still_works(
    cli: Cli, own: Path, images: Path
) -> None:
    before = {path.name: path.read_bytes() for path in own.iterdir() if path.is_file()}
    done = cli("analyze --steps 2 --data", images, own)
    assert done.status == 0, done.err
    assert "squared change" in done.out
    assert "cosine of successive gradients" in done.out
    made = {path.name for path in (own / "analysis").glob("*.svg")}
    assert made == {
        f"{n}.svg" for n in ("drift", "gradients", "directions", "embedding", "diagram")
    }
    assert (
        json.loads((own / "analysis/gradients.json").read_text())["runs"][0]["loss_apart_from_log"]
        == 0
    )
    assert {path.name: path.read_bytes() for path in own.iterdir() if path.is_file()} == before
    assert cli("evaluate", own).status == 0


def test_what_cannot_be_made_is_left_out_unless_it_was_asked_for(
    cli: Cli, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewtune.analysis.embedding_map.find_spec", lambda name: None)
    done = cli("analyze --json -o out", own)
    assert done.status == 0, done.err
    assert "The embedding is left out" in done.err
    assert "add --data DIR" in done.err
    found = json.loads(done.out)
    assert found.keys() == {"drift", "gradients", "diagram"}
    assert found["gradients"] == {"runs": []}
    assert found["drift"]["runs"][0]["label"] == "CLIP-LoRA"
    # Both towers of two blocks: A and B of three matrices, rank 2, width 32.
    assert found["diagram"]["runs"][0]["trained_parameters"] == 2 * 2 * 3 * 2 * 64
    assert {path.name for path in Path("out").glob("*.svg")} == {"drift.svg", "diagram.svg"}
    refused = cli("analyze --only embedding --method umap", own)
    assert refused.status == 2
    assert 'pip install "fewtune[umap]"' in refused.err


def test_other_images_are_refused(cli: Cli, own: Path, place: Path) -> None:
    split_folders(place / "others", train={"bird": 2, "cat": 2, "dog": 2}, test={"bird": 2})
    refused = cli("analyze --data others", own)
    assert refused.status == 2
    assert "are not those of" in refused.err
    split_folders(place / "fruit", train={"pear": 2, "fig": 2}, test={"fig": 2})
    assert "other classes" in cli("analyze --data fruit", own).err


def test_a_strategy_is_drawn_and_mistakes_are_named(cli: Cli, backbone: Path, own: Path) -> None:
    done = cli("analyze clip_lora --backbone", backbone)
    assert done.status == 0, done.err
    assert Path("analysis/diagram-clip-lora.svg").exists()
    assert Path("analysis/diagram-clip-lora.pdf").exists()
    assert "Nothing to analyse" in cli("analyze").err
    assert "is a strategy, and" in cli("analyze clip-lora", own).err
    assert "There is no run 'clip-lor'" in cli("analyze clip-lor").err
    assert "no folder missing" in cli("analyze --ablation missing").err


def test_an_ablation_of_runs_that_vary_nothing_is_refused(cli: Cli, tuned: Path) -> None:
    refused = cli("analyze --ablation", tuned.parent)
    assert refused.status == 2
    assert "No option of a strategy was varied" in refused.err


@pytest.mark.parametrize(
    ("name", "runs"), [("clip-lora-figure-3", 2835), ("clipfit-ablation", 432)]
)
def test_the_ablations_that_come_along_are_as_large_as_they_say(name: str, runs: int) -> None:
    file = Path(__file__).parents[2] / "experiments" / f"{name}.toml"
    values = {key: value for key, value in read_toml(file).items() if key not in METADATA}
    cases = Grid(tuple(expand(overridden(values, {}), strategy_names()))).cases()
    assert len(cases) == runs
    assert f"{runs:,} runs" in file.read_text(encoding="utf-8")
    jobs = CaseJobs(str(file), {})
    for case in cases[:: len(cases) // 48]:
        assert jobs.config(case).strategy == cases[0].strategy
