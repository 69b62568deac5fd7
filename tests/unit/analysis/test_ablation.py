"""Accuracy over what a sweep has varied, against numpy."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from fewtune.analysis import ablation, ablation_figures
from fewtune.analysis.ablation import Ablation
from fewtune.core.errors import ConfigError, RunError
from fewtune.core.files import read_json
from fewtune.core.spec import Spec
from fewtune.model.load_strategy import load_strategy

pytestmark = pytest.mark.usefixtures("empty_pdf")
MATRICES, RANKS, POSITIONS, ENCODERS = (
    ("q", "v", "qkv"),
    (2, 4),
    ("bottom", "all"),
    ("text", "both"),
)


def write_run(folder: Path, strategy: str, top1: float, seed: int = 1, **options: object) -> None:
    kind = load_strategy(strategy)
    given = kind(**options).model_dump(mode="json", exclude_defaults=True)
    spec = Spec(
        strategy=strategy, version=1, options=given, recipe=kind.recipe, task="pets", data="d",
        backbone="ViT-B16-2.5", revision="r", precision="fp32", shots=4, seed=seed,
    )  # fmt: skip
    spec = spec if kind.recipe else spec.untrained()
    run = folder / spec.folder()
    run.mkdir(parents=True)
    (run / "spec.json").write_text("{}")
    record = {
        "spec": spec.model_dump(mode="json"), "hash": spec.hash(), "plan": {"steps_scale": 1.0},
        "environment": {"fewtune": "1"}, "task": {"classes": ["a", "b"], "notes": []},
        "metrics": {"top1": top1}, "per_class": [top1, top1], "cost": {},
    }  # fmt: skip
    (run / "record.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Two seeds of each setting but one; and the scores, an axis each."""
    shape = (len(MATRICES), len(RANKS), len(POSITIONS), len(ENCODERS), 2)
    runs = tmp_path_factory.mktemp("ablation") / "runs"
    scores = np.random.default_rng(0).uniform(0.5, 0.9, shape)
    for place in itertools.product(*map(range, shape)):
        m, r, p, e, seed = place
        if (m, r, p, e) != (0, 1, 0, 0):
            write_run(
                runs, "clip-lora", scores[place], seed + 1, matrices=MATRICES[m],
                rank=RANKS[r], position=POSITIONS[p], encoder=ENCODERS[e],
            )  # fmt: skip
    write_run(runs, "zero-shot", 0.4)
    return runs, scores


@pytest.fixture(scope="module")
def found(grid: tuple[Path, np.ndarray]) -> Ablation:
    (only,) = ablation.read([grid[0]])
    return only


def test_means_and_spreads_are_those_of_numpy(
    found: Ablation, grid: tuple[Path, np.ndarray]
) -> None:
    scores = grid[1]
    # Words by length, numbers by size, choices as they are declared.
    assert found.axes == {
        "rank": RANKS, "matrices": MATRICES, "encoder": ENCODERS, "position": POSITIONS
    }  # fmt: skip
    assert dict(zip(found.axes, found.reference, strict=True)) == {
        "matrices": "qkv", "rank": 2, "encoder": "both", "position": "all"
    }  # fmt: skip
    assert found.zero_shot == 0.4
    for (m, a), (r, b), (p, c), (e, d) in itertools.product(
        *map(enumerate, (MATRICES, RANKS, POSITIONS, ENCODERS))
    ):
        score = found.at(matrices=a, rank=b, position=c, encoder=d)
        if (m, r, p, e) == (0, 1, 0, 0):
            assert score is None
            continue
        assert score is not None
        assert score.mean == pytest.approx(np.mean(scores[m, r, p, e]))
        assert score.spread == pytest.approx(np.std(scores[m, r, p, e], ddof=1))


def test_figures_tables_and_numbers_are_written(
    grid: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    runs, scores = grid
    (facts,) = ablation_figures.analyse([runs], tmp_path)
    stem = "ablation-clip-lora-pets-ViT-B16-2.5-4-shots"
    figures = (f"-{name}.{kind}" for name in ("options", "settings", "lines")
               for kind in ("svg", "pdf"))  # fmt: skip
    names = {f"{stem}{end}" for end in (".csv", ".json", *figures)}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert read_json(tmp_path / f"{stem}.json") == facts
    ranks = [row for row in facts["one_at_a_time"] if row["option"] == "rank"]
    assert [row["top1_mean"] for row in ranks] == pytest.approx(scores[2, :, 1, 1].mean(1).tolist())
    assert len((tmp_path / f"{stem}.csv").read_text().splitlines()) == 24


def test_lines_need_a_number_and_options_varied_with_it(found: Ablation) -> None:
    assert ablation.shape(found) == ["rank", "matrices", "encoder", "position"]
    assert ablation.shape(found, lines="position")[:2] == ["rank", "position"]
    assert ablation.pairs(found, ablation.shape(found)) == []
    with pytest.raises(ConfigError, match="Did you mean 'rank'"):
        ablation.shape(found, x="ranks")


def test_a_star_of_settings_has_a_heat_map_for_what_was_varied_together(tmp_path: Path) -> None:
    for biases, norms in itertools.product(("none", "fc2"), ("image", "text")):
        write_run(tmp_path, "clipfit", 0.6, biases=biases, norms=norms)
    for value in (0.0, 2.0):
        write_run(tmp_path, "clipfit", 0.5, lambda_=value)
    (found,) = ablation.read([tmp_path])
    assert ablation.shape(found) == []
    assert ablation.pairs(found, []) == [("biases", "norms")]
    assert [v for n, v, _ in ablation.one_at_a_time(found) if n == "lambda"] == [0, 2, 8]
    ablation_figures.analyse([tmp_path], tmp_path / "out")
    figures = {path.stem.rpartition("-shots-")[2] for path in (tmp_path / "out").glob("*.svg")}
    assert figures == {"options", "settings", "biases-norms"}


def test_runs_without_a_varied_option_are_no_ablation(tmp_path: Path) -> None:
    write_run(tmp_path, "clip-lora", 0.5)
    with pytest.raises(RunError, match="No option of a strategy was varied"):
        ablation.read([tmp_path])
